"""Select lists exactly the pixels of its definition."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pag_ros import kernels
from pag_ros.kernels import reference

SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))


@given(
    arrays.arrays(np.float32, SIZES, elements=st.floats(width=32)),
    st.floats(0, 1),
)
@settings(max_examples=150)
def test_any_scores_give_the_list_of_the_definition(score, density):
    keep = round(density * score.size)
    index = kernels.select(score, keep)
    assert index.shape == (score.size,)
    assert index[:keep].tolist() == reference.select(score, keep).tolist()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.floats(0, 1))
@settings(max_examples=60)
def test_ties_give_the_list_of_the_definition(height, width, levels, density):
    score = np.random.default_rng(height).integers(0, levels, (height, width)).astype(np.float32)
    keep = round(density * score.size)
    index = kernels.select(score, keep)
    assert index[:keep].tolist() == reference.select(score, keep).tolist()


def test_the_lower_pixel_of_equal_scores_wins():
    score = np.array([[1, 3, 3], [3, 0, 3]], np.float32)
    assert kernels.select(score, 2)[:2].tolist() == [1, 2]


def test_both_zeros_are_equal():
    score = np.array([[-0.0, 0.0, -0.0]], np.float32)
    assert kernels.select(score, 2)[:2].tolist() == [0, 1]


def test_a_larger_budget_only_adds_pixels():
    score = np.random.default_rng(1).normal(size=(9, 11)).astype(np.float32).round(1)
    chosen = [set(kernels.select(score, keep)[:keep].tolist()) for keep in range(100)]
    assert all(small <= large for small, large in pairwise(chosen))


def test_nan_is_below_everything_and_infinity_above():
    score = np.array([[np.nan, -5, np.inf, -np.inf, 2]], np.float32)
    assert kernels.select(score, 1)[:1].tolist() == [2]
    assert kernels.select(score, 3)[:3].tolist() == [1, 2, 4]
    assert kernels.select(score, 4)[:4].tolist() == [1, 2, 3, 4]


def test_it_writes_into_the_array_that_it_is_given():
    out = np.full(6, 9, np.int32)
    assert kernels.select(np.arange(6, dtype=np.float32).reshape(2, 3), 2, out=out) is out
    assert out[:2].tolist() == [4, 5]


@pytest.mark.parametrize("keep", [-1, 7, 2**40])
def test_an_impossible_count_is_refused(keep):
    with pytest.raises(ValueError, match=r"^keep must lie between 0 and 6"):
        kernels.select(np.zeros((2, 3), np.float32), keep)


@pytest.mark.parametrize(
    "score",
    [
        np.zeros(6, np.float32),
        np.zeros((2, 3)),
        np.zeros((2, 6), np.float32)[:, ::2],
        [[0.0, 1.0]],
    ],
)
def test_another_score_than_a_contiguous_float32_map_is_refused(score):
    with pytest.raises(ValueError, match=r"^score must be contiguous \[H,W\] float32"):
        kernels.select(score, 1)


@pytest.mark.parametrize("out", [np.zeros(5, np.int32), np.zeros(6, np.int64)])
def test_another_out_than_an_int32_per_pixel_is_refused(out):
    with pytest.raises(ValueError, match=r"^out must be contiguous \[6\] int32"):
        kernels.select(np.zeros((2, 3), np.float32), 1, out=out)


def test_out_must_be_writeable_and_apart_from_the_score():
    score = np.zeros((2, 3), np.float32)
    locked = np.zeros(6, np.int32)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match=r"^out must be writeable"):
        kernels.select(score, 1, out=locked)
    with pytest.raises(ValueError, match=r"^out must not share"):
        kernels.select(score, 1, out=score.ravel().view(np.int32))
