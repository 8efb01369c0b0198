"""The kernels do what their definition says, at every density, size and option."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros import kernels
from pag_ros.kernels import Workspace, reference

TOLERANCE = 2e-4


def scene(height: int, width: int, inputs: int, outputs: int, kernel: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(height, width, inputs)).astype(np.float32)
    weight = rng.normal(size=(outputs, kernel, kernel, inputs)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    base = rng.normal(size=(height, width, outputs)).astype(np.float32)
    return x, weight, bias, base


def listed(pixels: int, count: int, seed: int = 0) -> np.ndarray:
    chosen = np.sort(np.random.default_rng(seed).permutation(pixels)[:count])
    return np.concatenate([chosen, np.zeros(pixels - count)]).astype(np.int32)


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.floats(0, 1), st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_select_matches_the_definition_with_ties(height, width, levels, density, seed):
    score = np.random.default_rng(seed).integers(0, levels, (height, width)).astype(np.float32)
    keep = int(density * score.size)
    index = kernels.select(score, keep)
    assert index.shape == (score.size,)
    assert index[:keep].tolist() == reference.select(score, keep).tolist()


def test_select_takes_the_lower_index_of_equal_scores():
    score = np.array([[1, 3, 3], [3, 0, 3]], np.float32)
    assert kernels.select(score, 2)[:2].tolist() == [1, 2]


def test_select_is_nested_a_larger_budget_only_adds_pixels():
    score = np.random.default_rng(1).normal(size=(9, 11)).astype(np.float32).round(1)
    chosen = [set(kernels.select(score, keep)[:keep].tolist()) for keep in range(100)]
    assert all(small <= large for small, large in pairwise(chosen))


def test_select_ranks_nan_lowest_and_infinity_highest():
    score = np.array([[np.nan, -5, np.inf, -np.inf, 2]], np.float32)
    assert kernels.select(score, 1)[:1].tolist() == [2]
    assert kernels.select(score, 3)[:3].tolist() == [1, 2, 4]


@given(
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    inputs=st.integers(1, 19),
    outputs=st.integers(1, 17),
    kernel=st.sampled_from([1, 3]),
    dilation=st.integers(1, 4),
    density=st.floats(0, 1),
    has_base=st.booleans(),
    relu=st.booleans(),
    residual=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_sparse_conv_matches_the_definition(
    height, width, inputs, outputs, kernel, dilation, density, has_base, relu, residual
):
    x, weight, bias, base = scene(height, width, inputs, outputs, kernel)
    count = int(density * height * width)
    options: dict[str, Any] = {
        "base": base if has_base else None,
        "dilation": dilation,
        "relu": relu,
        "residual": residual and has_base,
    }
    index = listed(height * width, count)
    y = kernels.sparse_conv2d(x, index, count, weight, bias, **options)
    expected = reference.sparse_conv2d(x, index, count, weight, bias, **options)
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 63, 64, 65, 95, 96, 191, 192, 193, 357])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_count_is_right_on_every_number_of_threads(count, threads):
    x, weight, bias, base = scene(17, 21, 12, 10, 3)
    index = listed(17 * 21, count)
    workspace = Workspace(threads)
    y = kernels.sparse_conv2d(
        x, index, count, weight, bias, base=base, residual=True, workspace=workspace
    )
    expected = reference.sparse_conv2d(x, index, count, weight, bias, base=base, residual=True)
    workspace.close()
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_every_pixel_follows_its_own_dilation(relu, residual):
    x, weight, bias, base = scene(13, 15, 8, 8, 3)
    dilation_map = np.random.default_rng(2).choice([0, 1, 2, 4, 6, 8, 10], 13 * 15)
    options: dict[str, Any] = {
        "base": base,
        "dilation_map": dilation_map.astype(np.int32),
        "relu": relu,
        "residual": residual,
    }
    index = listed(13 * 15, 120)
    y = kernels.sparse_conv2d(x, index, 120, weight, bias, **options)
    expected = reference.sparse_conv2d(x, index, 120, weight, bias, **options)
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


def test_dilation_zero_takes_the_input_in_place_of_the_convolution():
    x, weight, bias, base = scene(3, 3, 4, 4, 3)
    zeros = np.zeros(9, np.int32)
    y = kernels.sparse_conv2d(x, listed(9, 9), 9, weight, bias, base=base, dilation_map=zeros)
    np.testing.assert_array_equal(y, x)


def test_the_definition_agrees_with_a_convolution_by_hand():
    x = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    weight = np.ones((1, 3, 3, 1), np.float32)
    y = reference.convolve(x, weight, np.array([0.5], np.float32), 1)
    assert y[..., 0].tolist() == [[8.5, 15.5, 12.5], [21.5, 36.5, 27.5], [20.5, 33.5, 24.5]]


def test_one_workspace_serves_layers_of_different_sizes():
    workspace = Workspace(2)
    for seed, (height, width, inputs, outputs) in enumerate([(9, 7, 3, 5), (20, 20, 8, 4)] * 2):
        x, weight, bias, _ = scene(height, width, inputs, outputs, 3, seed)
        count = height * width // 2
        index = listed(height * width, count, seed)
        y = kernels.sparse_conv2d(x, index, count, weight, bias, workspace=workspace)
        expected = reference.sparse_conv2d(x, index, count, weight, bias)
        np.testing.assert_allclose(y, expected, atol=TOLERANCE)
    workspace.close()


def test_out_may_be_the_base_itself():
    x, weight, bias, base = scene(6, 5, 4, 4, 3)
    index = listed(30, 11)
    expected = reference.sparse_conv2d(x, index, 11, weight, bias, base=base, residual=True)
    y = kernels.sparse_conv2d(x, index, 11, weight, bias, base=base, residual=True, out=base)
    assert y is base
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x", {"x": np.zeros((4, 4, 3))}),
        ("weight", {"weight": np.zeros((2, 5, 5, 3), np.float32)}),
        ("weight", {"weight": np.zeros((2, 3, 3, 4), np.float32)}),
        ("bias", {"bias": np.zeros(3, np.float32)}),
        ("base", {"base": np.zeros((4, 4, 3), np.float32)}),
        ("out", {"out": np.zeros((4, 4, 2), np.float64)}),
        ("count", {"count": 17}),
        ("count", {"count": -1}),
        ("index", {"index": np.full(16, 16, np.int32)}),
        ("index", {"index": np.full(16, -1, np.int32)}),
        ("residual", {"residual": True}),
        ("dilation", {"dilation": 0}),
        ("dilation_map", {"dilation_map": np.ones(16, np.int32)}),
    ],
)
def test_a_wrong_argument_is_named(name, change):
    arguments: dict[str, Any] = {
        "x": np.zeros((4, 4, 3), np.float32),
        "index": np.arange(16, dtype=np.int32),
        "count": 4,
        "weight": np.zeros((2, 3, 3, 3), np.float32),
        "bias": np.zeros(2, np.float32),
    }
    with pytest.raises(ValueError, match=rf"^{name} "):
        kernels.sparse_conv2d(**{**arguments, **change})


@pytest.mark.parametrize("keep", [-1, 7])
def test_select_refuses_an_impossible_count(keep):
    with pytest.raises(ValueError, match=r"^keep must lie between 0 and 6"):
        kernels.select(np.zeros((2, 3), np.float32), keep)
