"""The definition of the operators: dense arithmetic everywhere, then a mask. The oracle, not fast.

Arguments are those of `pag_ros.kernels`, unchecked; arithmetic is done in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select(score: NDArray[np.float32], keep: int) -> NDArray[np.int32]:
    """The `keep` best pixels of `score` [H,W], ascending: [keep] int32."""
    ranked = np.argsort(-np.nan_to_num(score.ravel(), nan=-np.inf), kind="stable")
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
    relu: bool = False,
    residual: bool = False,
) -> NDArray[np.float32]:
    """y [H,W,N] = base, and at the listed pixels act(conv(x) + bias [+ base])."""
    height, width, _ = x.shape
    if dilation_map is None:
        values = convolve(x, weight, bias, dilation)
    else:
        values = _convolve_by_map(x, weight, bias, dilation_map.reshape(height, width))
    y = np.zeros_like(values) if base is None else base.astype(np.float64)
    if residual:
        values = values + y
    if relu:
        values = np.maximum(values, 0.0)
    active = np.zeros(height * width, bool)
    active[index[:count]] = True
    result = np.where(active.reshape(height, width, 1), values, y)
    return result.astype(np.float32)


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
