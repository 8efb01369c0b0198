"""Convolutions of floats in 8 bits: units that hold their ranges, results that are near."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pag_ros.kernels import Branch, Workspace
from pag_ros.kernels.quantizing import Ranges, Weights, can_be_quantized, quantized_branch

SIZE = (8, 10)
PIXELS = SIZE[0] * SIZE[1]


def ranges_of(x: Any) -> Ranges:
    return Ranges(x.min(axis=(0, 1)).astype(np.float64), x.max(axis=(0, 1)).astype(np.float64))


@pytest.mark.parametrize(
    ("low", "high"), [((0, 0), (5, 80)), ((-3, -40), (9, 20)), ((-1, -2), (0, 0)), ((2, 3), (4, 5))]
)
def test_units_hold_the_range_of_every_channel_and_zero(low, high):
    scale, zero_point = Ranges(np.array(low, float), np.array(high, float)).units()
    assert 0 <= zero_point <= 255
    assert (scale * (255 - zero_point) >= np.array(high) * (1 - 1e-12)).all()
    assert (-scale * zero_point <= np.array(low) * (1 - 1e-12)).all()
    # No coarser than one of the two ends asks for.
    needed = [
        np.maximum(high, 0) / max(255 - zero_point, 1),
        -np.minimum(low, 0) / max(zero_point, 1),
    ]
    np.testing.assert_allclose(scale, np.maximum(*needed))


def test_a_channel_that_was_always_zero_has_units_all_the_same():
    scale, zero_point = Ranges(np.zeros(3), np.array([0.0, 64.0, 0.1])).units()
    assert zero_point == 0
    np.testing.assert_allclose(scale, np.array([1.0, 64.0, 1.0]) / 255)
    scale, _ = Ranges(np.zeros(3), np.zeros(3)).units()
    assert (scale > 0).all()
    assert np.isfinite(1 / scale.astype(np.float32)).all()


def test_joined_ranges_hold_both():
    joined = Ranges(np.array([-1.0, 0.0]), np.array([2.0, 3.0])).joined(
        Ranges(np.array([-2.0, 1.0]), np.array([1.0, 4.0]))
    )
    assert joined.low.tolist() == [-2, 0]
    assert joined.high.tolist() == [2, 4]


def convolutions(channels: int) -> list[Weights]:
    rng = np.random.default_rng(0)
    shape = (channels, 3, 3, channels)
    return [
        Weights(
            rng.normal(0, 0.1, shape).astype(np.float32),
            rng.normal(0, 0.3, channels).astype(np.float32),
            activation="relu",
        )
        for _ in range(2)
    ]


@pytest.mark.parametrize("spread", [1.0, 7.0])
@pytest.mark.parametrize("by_map", [False, True])
def test_results_are_near_those_of_floats(spread, by_map):
    """However different the channels are; a unit for all would be off by tens of percents."""
    rng = np.random.default_rng(1)
    channels = 24
    factors = np.geomspace(1 / spread, spread, channels).astype(np.float32)
    x = np.maximum(rng.normal(0.5, 1, (*SIZE, channels)), 0).astype(np.float32) * factors
    weights = convolutions(channels)
    weights[0] = replace(weights[0], weight=weights[0].weight / factors, by_map=by_map)
    if by_map:
        x /= factors
        weights[0] = replace(weights[0], weight=weights[0].weight * factors)
    index = np.arange(PIXELS, dtype=np.int32)
    more: dict[str, Any] = {"workspace": Workspace(1), "base": x}
    if by_map:
        more["dilation_map"] = rng.integers(0, 3, PIXELS).astype(np.int32)
    floats = Branch([each.packed() for each in weights], True)(x, index, PIXELS, **more)
    more_inner = {k: v for k, v in more.items() if k != "base"}
    inner = Branch([weights[0].packed()])(x, index, PIXELS, **more_inner)
    branch = quantized_branch(weights, [ranges_of(x), ranges_of(inner)], True)
    y = branch(x, index, PIXELS, **more)
    changed, error = np.abs(floats - x).mean(), np.abs(y - floats).mean()
    assert error < 0.02 * changed


def test_a_channel_of_weights_of_zero_keeps_its_bias():
    weights = convolutions(6)
    weights[1].weight[2] = 0
    weights[1] = replace(weights[1], activation="none")
    x = np.ones((*SIZE, 6), np.float32)
    index = np.arange(PIXELS, dtype=np.int32)
    ranges = [ranges_of(x), Ranges(np.zeros(6), np.full(6, 4.0))]
    y = quantized_branch(weights, ranges, False)(x, index, PIXELS, workspace=Workspace(1))
    np.testing.assert_allclose(y[:, :, 2], weights[1].bias[2], rtol=1e-5)


def test_what_8_bits_cannot_compute_is_told():
    weights = convolutions(6)
    assert can_be_quantized(weights)
    assert not can_be_quantized([replace(weights[0], activation="relu6"), weights[1]])
    depthwise = Weights(np.ones((6, 3, 3, 1), np.float32), np.zeros(6, np.float32), depthwise=True)
    assert not can_be_quantized([weights[0], depthwise])
    assert (depthwise.inputs, depthwise.outputs) == (6, 6)
