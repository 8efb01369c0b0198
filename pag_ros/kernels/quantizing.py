"""Convolutions of floats as convolutions of 8-bit integers, by the ranges of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels import Activation, Convolution, QuantizedBranch, QuantizedConvolution

_MOST_UNITS = 255
_MOST_WEIGHT = 127
_MOST_BIAS = 1 << 24
"""Of a bias in units of the sum, far from where 32 bits end."""
_SMALLEST_RANGE = 1e-9
_LEAST_SHARE = 1 / 64
"""Of a channel's unit in that of the largest one."""


@dataclass(frozen=True)
class Ranges:
    """What values the channels of a map have.

    Attributes:
        low, high: [C] the smallest and the largest of each.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def joined(self, other: Ranges) -> Ranges:
        """The smallest ranges that hold both."""
        return Ranges(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def units(self) -> tuple[NDArray[np.float64], int]:
        """(scale [C], zero point) of the 256 values that stand for each channel's.

        Zero is one of them exactly, the same one in all channels.
        """
        low, high = np.minimum(self.low, 0.0), np.maximum(self.high, 0.0)
        lowest, highest = low.min(), max(high.max(), low.min() + _SMALLEST_RANGE)
        zero_point = round(-lowest / (highest - lowest) * _MOST_UNITS)
        scale = high / max(_MOST_UNITS - zero_point, 1)
        if zero_point > 0:
            scale = np.maximum(scale, -low / zero_point)
        # What was zero on every picture need not be so on the next one.
        least = max(scale.max(), _SMALLEST_RANGE) * _LEAST_SHARE
        return np.maximum(scale, least), zero_point


@dataclass(frozen=True)
class Weights:
    """A convolution as `Convolution` takes it, before it is packed."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    dilation: int = 1
    by_map: bool = False
    depthwise: bool = False
    activation: Activation = "none"

    @property
    def inputs(self) -> int:
        """Channels C of its input."""
        return int(self.weight.shape[0 if self.depthwise else 3])

    @property
    def outputs(self) -> int:
        """Channels N of its result."""
        return int(self.weight.shape[0])

    def packed(self) -> Convolution:
        """The same in floats; ValueError: see `Convolution`."""
        return Convolution(
            self.weight,
            self.bias,
            dilation=self.dilation,
            by_map=self.by_map,
            depthwise=self.depthwise,
            activation=self.activation,
        )


def can_be_quantized(convolutions: Sequence[Weights]) -> bool:
    """Whether `quantized_branch` takes these convolutions."""
    return all(not each.depthwise and each.activation != "relu6" for each in convolutions)


def quantized_branch(
    convolutions: Sequence[Weights], ranges: Sequence[Ranges], residual: bool
) -> QuantizedBranch:
    """A branch that computes with 8-bit integers.

    Every channel of a map has units of its own; the weights that read it are multiplied by them.
    These are rounded to 255 values, each output channel in its own range, alike on both sides of
    zero; biases to units of the sum (Jacob et al., "Quantization and training of neural networks
    for efficient integer-arithmetic-only inference", CVPR 2018).

    Args:
        convolutions: one or more, of which `can_be_quantized` holds.
        ranges: of the input of each.
        residual: see `QuantizedBranch`.

    Raises:
        ValueError: the convolutions do not fit together.
    """
    units = [each.units() for each in ranges]
    results = [*(scale for scale, _ in units[1:]), np.ones(convolutions[-1].outputs)]
    packed = [
        _quantized(convolution, scale, zero_point, result)
        for convolution, (scale, zero_point), result in zip(
            convolutions, units, results, strict=True
        )
    ]
    return QuantizedBranch(packed, units[0][0].astype(np.float32), residual)


def _quantized(
    convolution: Weights, units: NDArray[np.float64], zero_point: int, result: NDArray[np.float64]
) -> QuantizedConvolution:
    """One convolution, of inputs in `units` [C] to results in units of `result` [N]."""
    weight = convolution.weight * units
    scales = np.abs(weight).max(axis=(1, 2, 3)) / _MOST_WEIGHT
    # A channel of hardly any weight must not make its bias a number beyond 32 bits.
    scales = np.maximum(scales, np.abs(convolution.bias) / _MOST_BIAS)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    activation: Literal["none", "relu"] = "relu" if convolution.activation == "relu" else "none"
    return QuantizedConvolution(
        np.rint(weight / scales[:, None, None, None]).astype(np.int8),
        np.rint(convolution.bias / scales).astype(np.int32),
        (scales / result).astype(np.float32),
        zero_point=zero_point,
        dilation=convolution.dilation,
        by_map=convolution.by_map,
        passed=(units / result).astype(np.float32) if convolution.by_map else None,
        activation=activation,
    )
