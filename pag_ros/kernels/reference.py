"""The definition of the operators: dense arithmetic everywhere, then a mask. The oracle, not fast.

Arguments are those of `pag_ros.kernels`, unchecked; arithmetic is done in float64, of quantized
convolutions in exact integers and float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """y [H,W,N] = base, and at the listed pixels act(conv(x) + bias [+ base])."""
    height, width, channels = x.shape
    if precision == "bf16":
        x, weight = to_bf16(x), to_bf16(weight)
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


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest numbers with 8 significant bits, of two the one whose last bit is 0."""
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return np.where(np.isnan(values), values, rounded.astype(np.uint32).view(np.float32))


@dataclass(frozen=True)
class QuantizedStep:
    """Arguments of a `QuantizedConvolution`."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    zero_point: int = 0
    dilation: int = 1
    by_map: bool = False
    passed: NDArray[np.float32] | None = None
    activation: str = "none"


def quantized_branch(
    x: NDArray[np.float32],
    index: NDArray[np.int32],
    count: int,
    steps: Sequence[QuantizedStep],
    input_scale: float | NDArray[np.float32],
    *,
    base: NDArray[np.float32] | None = None,
    dilation_map: NDArray[np.int32] | None = None,
    residual: bool = False,
) -> NDArray[np.float32]:
    """y [H,W,N] = base, and at the listed pixels the result of the steps; exact to the last bit.

    Sums are exact integers. Everything else is float32, one operation after another.
    """
    active = np.zeros(x.shape[0] * x.shape[1], bool)
    active[index[:count]] = True
    active = active.reshape(x.shape[0], x.shape[1], 1)
    values = _to_uint8(x * (np.float32(1) / np.float32(input_scale)), steps[0].zero_point)
    for step, following in pairwise(steps):
        scaled = _quantized_result(values, step, dilation_map)
        if step.activation == "relu":
            scaled = np.maximum(scaled, np.float32(0))
        values = np.where(active, _to_uint8(scaled, following.zero_point), following.zero_point)
    result = _quantized_result(values, steps[-1], dilation_map)
    y = np.zeros_like(result) if base is None else base
    if residual:
        result = result + y
    if steps[-1].activation == "relu":
        result = np.maximum(result, np.float32(0))
    return np.where(active, result, y)


def _quantized_result(
    values: NDArray[np.int64], step: QuantizedStep, dilation_map: NDArray[np.int32] | None
) -> NDArray[np.float32]:
    """The step's results before the activation: [H,W,C] -> [H,W,N]."""
    if dilation_map is None or step.passed is None:
        return quantized_sums(values, step, step.dilation).astype(np.float32) * step.scale
    result = (values - step.zero_point).astype(np.float32) * step.passed
    dilations = dilation_map.reshape(values.shape[:2])
    for dilation in np.unique(dilations[dilations > 0]):
        sums = quantized_sums(values, step, int(dilation)).astype(np.float32) * step.scale
        result[dilations == dilation] = sums[dilations == dilation]
    return result


def quantized_sums(
    values: NDArray[np.int64], step: QuantizedStep, dilation: int
) -> NDArray[np.int64]:
    """bias + sum of weight * (input - zero_point) everywhere: [H,W,C] -> [H,W,N]."""
    # Exact: float64 holds every integer of 53 bits.
    centred = values.astype(np.float32) - np.float32(step.zero_point)
    weight = step.weight.astype(np.float32)
    sums = convolve(centred, weight, np.zeros(len(weight)), dilation)
    return sums.astype(np.int64) + step.bias


def _to_uint8(values: NDArray[np.float32], zero_point: int) -> NDArray[np.int64]:
    """Rounded to the nearest integers, of two the even one, with zero at `zero_point`."""
    lowest = np.where(np.isnan(values), np.float32(-zero_point), values)
    integers: NDArray[np.int64] = np.rint(np.clip(lowest, -zero_point, 255 - zero_point)).astype(
        int
    )
    return integers + zero_point


def classify(
    logits: NDArray[np.float32], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels [H,W] and their probability [H,W] from logits [K,h,w]."""
    large = _interpolate(_interpolate(logits.astype(np.float64), height, 1), width, 2)
    odds = np.exp(large - large.max(axis=0))
    confidence = odds.max(axis=0) / odds.sum(axis=0)
    return large.argmax(axis=0).astype(np.uint8), confidence.astype(np.float32)


def enlarge_geometry(
    maps: NDArray[np.float32], height: int, width: int, least: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth [H,W] and unit normals [H,W,3] from log depth and normals [4,h,w]."""
    large = _interpolate(_interpolate(maps.astype(np.float64), height, 1), width, 2)
    return np.exp(large[0]).astype(np.float32), _unit(np.moveaxis(large[1:], 0, -1), least)


def enlarge_normals(
    normals: NDArray[np.float32], height: int, width: int, least: float
) -> NDArray[np.float32]:
    """Unit normals [H,W,3] from normals [h,w,3]."""
    tall = _interpolate(normals.astype(np.float64), height, 0)
    return _unit(_interpolate(tall, width, 1), least)


def _unit(vectors: NDArray[np.float64], least: float) -> NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), least)
    unit: NDArray[np.float32] = (vectors / length).astype(np.float32)
    return unit


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
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.floating[Any]],
    dilation: int,
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
