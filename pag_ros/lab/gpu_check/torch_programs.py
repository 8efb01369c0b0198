"""The gated convolutions of a graph in torch: by our kernels, or densely by cuDNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from pag_ros.kernels.gpu.programs import ConvSpec, Spec
from pag_ros.lab.gpu_check.device import Device

DILATIONS = (0, 1, 2, 4, 6, 8, 10)
"""MultiPool's dilations, as in `pag_ros.lab.model`, which needs what a GPU machine may lack."""

_ALIGNMENT_BYTES = 16
"""Alignment of the tensors that a program takes."""


class SparsePrograms:
    """Our kernels, launched one by one.

    Args:
        device: that they run on.
    """

    has_gates = True

    def __init__(self, device: Device) -> None:
        self._device = device

    def reads(self, spec: Spec) -> frozenset[str]:
        return frozenset(tensor.name for tensor in spec.inputs)

    def prepare(self, name: str, constant: Tensor) -> Tensor:
        return constant

    def run(self, spec: Spec, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        given = {name: _usable(tensor) for name, tensor in inputs.items()}
        outputs = self._device.outputs(spec)
        if isinstance(spec, ConvSpec) and spec.in_place:
            outputs["y"] = given["base"]
        self._device.kernel(spec).launch({**given, **outputs})
        return list(outputs.values())


class DensePrograms:
    """The same convolutions at every pixel. No gate is asked, so a graph loses its Selects.

    Rows are a map here, since every pixel is listed.

    Args:
        candidates: compute MultiPool as a dense runtime has to, every dilation at every pixel; else
            a plain 3x3 stands for it, as in a network that was trained without.
    """

    has_gates = False

    def __init__(self, candidates: bool) -> None:
        self._candidates = candidates

    def reads(self, spec: Spec) -> frozenset[str]:
        names = {"x", "weight", "bias"}
        if isinstance(spec, ConvSpec) and spec.residual:
            names.add("base")
        if isinstance(spec, ConvSpec) and spec.by_map and self._candidates:
            names.add("dilation")
        return frozenset(names)

    def prepare(self, name: str, constant: Tensor) -> Tensor:
        """Weights [taps,C,N] as [N,C,k,k] in channels-last memory; half precision for the bias."""
        if name != "weight":
            return constant.half()
        taps, channels, features = constant.shape
        side = round(taps**0.5)
        weight = constant.reshape(side, side, channels, features).permute(3, 2, 0, 1)
        return weight.contiguous(memory_format=torch.channels_last)

    def run(self, spec: Spec, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        assert isinstance(spec, ConvSpec)
        x = _picture(spec, inputs["x"])
        base = _picture(spec, inputs["base"]) if spec.residual else None
        has_candidates = spec.by_map and self._candidates
        y = (_best_candidate if has_candidates else _convolve)(spec, x, inputs, base)
        return [y.permute(0, 2, 3, 1)]


def _best_candidate(
    spec: ConvSpec, x: Tensor, inputs: Mapping[str, Tensor], base: Tensor | None
) -> Tensor:
    """[1,N,H,W]: every candidate everywhere; each pixel then takes its own. 0 is the identity."""
    chosen = inputs["dilation"].view(1, 1, spec.height, spec.width)
    weight, bias = inputs["weight"], inputs["bias"]
    y = x
    for dilation in DILATIONS[1:]:
        candidate = F.conv2d(x, weight, bias, padding=dilation, dilation=dilation)
        y = torch.where(chosen == dilation, candidate, y)
    return _activate(spec, y if base is None else y + base)


def _convolve(
    spec: ConvSpec, x: Tensor, inputs: Mapping[str, Tensor], base: Tensor | None
) -> Tensor:
    """[1,N,H,W]; cuDNN fuses sum and activation where it can."""
    padding, dilation = [spec.dilation * (spec.kernel // 2)] * 2, [spec.dilation] * 2
    weight, bias = inputs["weight"], inputs["bias"]
    if x.is_cuda and spec.activation == "relu":
        more = (bias, [1, 1], padding, dilation, 1)
        if base is None:
            return torch.cudnn_convolution_relu(x, weight, *more)
        return torch.cudnn_convolution_add_relu(x, weight, base, 1.0, *more)
    y = F.conv2d(x, weight, bias, padding=padding, dilation=dilation)
    return _activate(spec, y if base is None else y + base)


def _activate(spec: ConvSpec, y: Tensor) -> Tensor:
    if spec.activation == "none":
        return y
    return F.relu(y) if spec.activation == "relu" else F.relu6(y)


def _picture(spec: ConvSpec, features: Tensor) -> Tensor:
    """Map or rows, channels-last, as [1,C,H,W]."""
    return features.reshape(1, spec.height, spec.width, -1).permute(0, 3, 1, 2)


def _usable(tensor: Tensor) -> Tensor:
    """Contiguous, and where a program may read it: a slice of another tensor may lie elsewhere."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT_BYTES else tensor
