"""The two operators behind gated computation: choose pixels, then convolve at these pixels only.

`reference` is the plain definition of both and the oracle of every backend; `gather` is the
implementation that runs. Pixels are numbered row by row, layout is channels-last, batch of one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels import gather
from pag_ros.kernels.gather import Workspace

__all__ = ["Workspace", "select", "sparse_conv2d"]


def select(
    score: NDArray[np.float32], keep: int, out: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """The `keep` pixels with the highest scores, in ascending pixel order, ties to the lower index.

    Args:
        score: [H,W] float; NaN counts as the lowest score.
        keep: how many pixels, 0 to H*W.
        out: [H*W] int32 to write into, or None for a new array.

    Returns:
        [H*W] int32; the first `keep` entries are the pixels, the others mean nothing.

    Raises:
        ValueError: an argument has a wrong shape, type or value.
    """
    _require(score.ndim == 2 and score.dtype.kind == "f", "score", "[H,W] float", score)
    if not 0 <= keep <= score.size:
        raise ValueError(f"keep must lie between 0 and {score.size}, got {keep}")
    if out is None:
        out = np.zeros(score.size, np.int32)
    else:
        _require(_is(out, np.int32, score.size), "out", f"[{score.size}] int32", out)
    gather.select(score, keep, out)
    return out


def sparse_conv2d(
    x: NDArray[np.float32],
    index: NDArray[np.int32],
    count: int,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    base: NDArray[np.float32] | None = None,
    dilation: int = 1,
    dilation_map: NDArray[np.int32] | None = None,
    relu: bool = False,
    residual: bool = False,
    out: NDArray[np.float32] | None = None,
    workspace: Workspace | None = None,
) -> NDArray[np.float32]:
    """A convolution at the listed pixels: y = base, and there act(conv(x) + bias [+ base]).

    Args:
        x: [H,W,C] float32; beyond its borders everything is zero.
        index: [>= count] int32, the pixels y * W + x to compute, each at most once.
        count: how many entries of `index` to use.
        weight: [N,k,k,C] float32, k = 1 or 3; bias: [N] float32.
        base: [H,W,N] float32, what the other pixels get, or None for zeros. `out` may be `base`.
        dilation: distance of the taps in pixels.
        dilation_map: [H*W] int32, a dilation for every pixel in place of `dilation`; at 0 the
            input takes the convolution's place (so N = C).
        relu: apply max(., 0) at the listed pixels.
        residual: add `base` at the listed pixels.
        out: [H,W,N] float32 contiguous to write into, or None for a new array.
        workspace: buffers and threads to use again; without one, one is made for this call.

    Returns:
        y [H,W,N] float32.

    Raises:
        ValueError: an argument has a wrong shape, type or value.
    """
    _require(_is(x, np.float32, None, None, None), "x", "contiguous [H,W,C] float32", x)
    height, width, channels = x.shape
    kernel = weight.shape[1] if weight.ndim == 4 else 0
    _require(
        kernel in (1, 3) and _is(weight, np.float32, None, kernel, kernel, channels),
        "weight",
        f"contiguous [N,k,k,{channels}] float32, k = 1 or 3",
        weight,
    )
    outputs = weight.shape[0]
    _require(_is(bias, np.float32, outputs), "bias", f"[{outputs}] float32", bias)
    pixels = _listed_pixels(index, count, height * width)
    shape = (height, width, outputs)
    for name, array in (("base", base), ("out", out)):
        if array is not None:
            _require(_is(array, np.float32, *shape), name, f"contiguous {shape} float32", array)
    if residual and base is None:
        raise ValueError("residual needs base")
    dilations = _dilations(dilation, dilation_map, x, weight)
    return gather.sparse_conv2d(
        x,
        pixels,
        weight,
        bias,
        base,
        dilations,
        relu,
        residual,
        np.empty(shape, np.float32) if out is None else out,
        workspace or Workspace(threads=1),
    )


def _listed_pixels(index: NDArray[np.int32], count: int, pixels: int) -> NDArray[np.int32]:
    _require(index.ndim == 1 and index.dtype.kind == "i", "index", "[n] int32", index)
    if not 0 <= count <= min(len(index), pixels):
        raise ValueError(f"count must lie between 0 and {min(len(index), pixels)}, got {count}")
    listed = index[:count]
    if count and not 0 <= listed.min() <= listed.max() < pixels:
        raise ValueError(f"index names pixels outside 0..{pixels - 1}")
    return listed


def _dilations(
    dilation: int,
    dilation_map: NDArray[np.int32] | None,
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
) -> int | NDArray[np.int32]:
    if dilation_map is None:
        if dilation < 1:
            raise ValueError(f"dilation must be 1 or more, got {dilation}")
        return dilation
    pixels = x.shape[0] * x.shape[1]
    _require(_is(dilation_map, np.int32, pixels), "dilation_map", f"[{pixels}] int32", dilation_map)
    if weight.shape[1] != 3 or weight.shape[0] != weight.shape[3]:
        raise ValueError("dilation_map needs a 3x3 weight with as many outputs as inputs")
    if dilation_map.min() < 0:
        raise ValueError("dilation_map holds negative dilations")
    return dilation_map


def _is(array: NDArray[np.generic], dtype: type[np.generic], *shape: int | None) -> bool:
    """Whether an array is contiguous, of this type and of this shape (None: any length)."""
    return (
        array.dtype == dtype
        and array.ndim == len(shape)
        and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
        and array.flags.c_contiguous
    )


def _require(condition: bool, name: str, wanted: str, array: NDArray[np.generic]) -> None:
    if not condition:
        raise ValueError(f"{name} must be {wanted}, got {list(array.shape)} {array.dtype}")
