"""The `pag` operators in torch: `select`, `sparse_conv` and `classify`.

In plain torch they are the definition itself (dense arithmetic, then a mask), for checking other
implementations, not for speed. During ONNX export they become nodes of domain `pag`. Layout is
channels-last, batch of one; docs/operators.md describes both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

ONNX_VERSION = 1
"""Version of the operator set `pag`."""

Activation = Literal["none", "relu", "relu6"]
ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 1, "relu6": 6}
"""Activation -> the ONNX attribute `relu`."""
_ACTIVATE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "relu": F.relu,
    "relu6": F.relu6,
}


def no_limits(blocks: int) -> Tensor:
    """Limits that neither trim nor leave out any pixel: [L,3] float32, see `select`."""
    return torch.tensor([[math.inf, 1.0, -math.inf]]).repeat(blocks, 1)


def select(score: Tensor, keep: Tensor, limits: Tensor, stage: str) -> tuple[Tensor, Tensor]:
    """The `keep` pixels with the highest scores, in ascending pixel order, ties to the lower index.

    Args:
        score: [1,H,W] float.
        keep: scalar int, 0 to H*W.
        limits: [3] float (start, rest, threshold). Pixels whose score is not above the threshold
            are left out. start and rest are seconds; only a runtime with a clock trims by them.
        stage: name of the gated block, for people and for timing.

    Returns:
        index [H*W] int32, the first `count` entries are the pixels; count [1] int32.
    """
    size = score.shape[1] * score.shape[2]
    if torch.onnx.is_in_onnx_export():
        index, count = torch.onnx.ops.symbolic_multi_out(
            "pag::Select",
            [score, keep, limits],
            attrs={"stage": stage},
            dtypes=[torch.int32, torch.int32],
            shapes=[[size], [1]],
            version=ONNX_VERSION,
        )
        return index, count
    wanted = min(int(keep), int((score > limits[2]).sum()))
    best = score.flatten().argsort(descending=True, stable=True)[:wanted].sort().values
    index = torch.zeros(size, dtype=torch.int32)
    index[:wanted] = best.to(torch.int32)
    return index, torch.tensor([wanted], dtype=torch.int32)


def sparse_conv(
    x: Tensor,
    index: Tensor,
    count: Tensor,
    weight: Tensor,
    bias: Tensor,
    base: Tensor | None = None,
    dilation_map: Tensor | None = None,
    dilation: int = 1,
    activation: Activation = "none",
    residual: bool = False,
    depthwise: bool = False,
) -> Tensor:
    """A convolution at the listed pixels only: y = base, and there act(conv(x) + bias [+ base]).

    Args:
        x: [1,H,W,C]; pixels beyond the border count as zero.
        index, count: from `select`.
        weight: [N,k,k,C] with k = 1, 3 or 5; depthwise [C,k,k,1].
        bias: [N].
        base: [1,H,W,N] or None for zeros.
        dilation_map: [H*W] int32 or None. A dilation for each pixel of a 3x3; 0 = identity, where
            conv(x) + bias is x itself (so N = C).
        dilation: of every pixel, where no map is given.
        activation: at the listed pixels.
        residual: add base at the listed pixels, before the activation.
        depthwise: every output channel is computed from the input channel of its own number.

    Returns:
        y [1,H,W,N].
    """
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "pag::SparseConv",
            [x, index, count, weight, bias, base, dilation_map],
            attrs={
                "kernel": weight.shape[1],
                "dilation": dilation,
                "relu": ACTIVATIONS[activation],
                "residual": int(residual),
                "depthwise": int(depthwise),
            },
            dtype=x.dtype,
            shape=[*x.shape[:3], weight.shape[0]],
            version=ONNX_VERSION,
        )
    _, height, width, _ = x.shape
    if dilation_map is None:
        values = _convolve(x, weight, bias, dilation, x.shape[3] if depthwise else 1)
    else:
        values = _convolve_by_map(x, weight, bias, dilation_map.view(1, height, width, 1))
    base = torch.zeros_like(values) if base is None else base
    values = values + base if residual else values
    values = _ACTIVATE[activation](values)
    active = torch.zeros(height * width, dtype=torch.bool)
    active[index[: int(count)].long()] = True
    return torch.where(active.view(1, height, width, 1), values, base)


def end(x: Tensor) -> Tensor:
    """The same, where gated work ends that no other `pag` operator computes."""
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            "pag::End", [x], dtype=x.dtype, shape=list(x.shape), version=ONNX_VERSION
        )
    return x


def classify(logits: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The best class at every pixel of a larger map, and its softmax probability.

    Args:
        logits: [1,K,h,w], interpolated bilinearly to H x W.

    Returns:
        labels [1,H,W] uint8, of equal logits the lower class; confidence [1,H,W] float.
    """
    if torch.onnx.is_in_onnx_export():
        labels, confidence = torch.onnx.ops.symbolic_multi_out(
            "pag::Classify",
            [logits],
            attrs={"height": height, "width": width},
            dtypes=[torch.uint8, logits.dtype],
            shapes=[[1, height, width], [1, height, width]],
            version=ONNX_VERSION,
        )
        return labels, confidence
    large = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
    return large.argmax(1).to(torch.uint8), large.softmax(1).amax(1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor, dilation: int, groups: int = 1) -> Tensor:
    padding = dilation * (weight.shape[1] // 2)
    nchw, kernel = x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2)
    y = F.conv2d(nchw, kernel, bias, 1, padding, dilation, groups)
    return y.permute(0, 2, 3, 1).contiguous()


def _convolve_by_map(x: Tensor, weight: Tensor, bias: Tensor, dilation_map: Tensor) -> Tensor:
    y = x.clone()
    for dilation in torch.unique(dilation_map).tolist():
        if dilation > 0:
            y = torch.where(dilation_map == dilation, _convolve(x, weight, bias, dilation), y)
    return y
