"""The definition of the operators: dense arithmetic everywhere, then a mask. The oracle, not fast.

Arguments are those of `pag_ros.kernels`, unchecked; arithmetic is done in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CLAMPS = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


def select(score: NDArray[np.float32], keep: int) -> NDArray[np.int32]:
    """The `keep` best pixels of `score` [H,W], ascending: [keep] int32."""
    flat = score.ravel()
    # The last key sorts first: numbers before NaN, high before low, low pixels before high ones.
    ranked = np.lexsort((np.arange(flat.size), -flat, np.isnan(flat)))
    return np.sort(ranked[:keep]).astype(np.int32)


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
    depthwise: bool = False,
    activation: str = "none",
    residual: bool = False,
) -> NDArray[np.float32]:
    """y [H,W,N] = base, and at the listed pixels act(conv(x) + bias [+ base])."""
    height, width, channels = x.shape
    if depthwise:
        weight = weight * np.eye(channels, dtype=weight.dtype)[:, None, None, :]
    if dilation_map is None:
        values = convolve(x, weight, bias, dilation)
    else:
        values = _convolve_by_map(x, weight, bias, dilation_map.reshape(height, width))
    y = np.zeros_like(values) if base is None else base.astype(np.float64)
    if residual:
        values = values + y
    values = np.clip(values, *_CLAMPS[activation])
    active = np.zeros(height * width, bool)
    active[index[:count]] = True
    result = np.where(active.reshape(height, width, 1), values, y)
    return result.astype(np.float32)


def classify(
    logits: NDArray[np.float32], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels [H,W] and their probability [H,W] from logits [K,h,w]."""
    large = _interpolate(_interpolate(logits.astype(np.float64), height, 1), width, 2)
    odds = np.exp(large - large.max(axis=0))
    confidence = odds.max(axis=0) / odds.sum(axis=0)
    return large.argmax(axis=0).astype(np.uint8), confidence.astype(np.float32)


def _interpolate(values: NDArray[np.float64], size: int, axis: int) -> NDArray[np.float64]:
    """Linear interpolation along one axis, centres at half, edges continued."""
    small = values.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * small / size - 0.5, 0, small - 1)
    lower = position.astype(int)
    share = (position - lower).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    upper = np.minimum(lower + 1, small - 1)
    result: NDArray[np.float64] = values.take(lower, axis) * (1 - share)
    result += values.take(upper, axis) * share
    return result


def convolve(
    x: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32], dilation: int
) -> NDArray[np.float64]:
    """The dense convolution with zero padding: x [H,W,C], weight [N,k,k,C] -> [H,W,N]."""
    height, width, _ = x.shape
    kernel = weight.shape[1]
    reach = dilation * (kernel // 2)
    padded = np.pad(x.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)))
    y = np.tile(bias.astype(np.float64), (height, width, 1))
    for row in range(kernel):
        for column in range(kernel):
            top, left = row * dilation, column * dilation
            y += padded[top : top + height, left : left + width] @ weight[:, row, column].T
    return y


def _convolve_by_map(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    dilation_map: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Every pixel with its own dilation; at dilation 0 the input takes the convolution's place."""
    y = x.astype(np.float64)
    for dilation in np.unique(dilation_map[dilation_map > 0]):
        here = dilation_map == dilation
        y[here] = convolve(x, weight, bias, int(dilation))[here]
    return y
