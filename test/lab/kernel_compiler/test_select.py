"""The GPU's Select lists exactly the pixels of its definition.

Run in Triton's interpreter, one program after another on the CPU: this proves neither that threads
are in step where they have to be, nor that the GPU's clock is read (the tests feed it), nor speed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import SelectSpec, launch

UNLIMITED = (math.inf, 1.0, -math.inf)
SECOND = 10**9


class Selection:
    """Outputs of one run, each checked against the others."""

    def __init__(self, interpreter, score, keep, limits=UNLIMITED, start=0, now=0, block=None):
        self.score = np.asarray(score, np.float32)
        spec = SelectSpec(*self.score.shape)
        inputs = {
            "score": self.score[None],
            "keep": np.array(keep, np.int32),
            "limits": np.array(limits, np.float32),
            "clock": _words(start),
        }
        how = launch(spec, 80)
        if block:
            how = replace(how, constants={**how.constants, "BLOCK": block})
        outputs = interpreter.run(spec, inputs, now, how)
        self.count = int(outputs["count"][0])
        self.pixels = outputs["index"][: self.count].tolist()
        self.stamp = outputs["stamp"]
        slots = np.full(self.score.size, -1)
        slots[self.pixels] = np.arange(self.count)
        np.testing.assert_array_equal(outputs["slot"], slots)
        assert (outputs["index"][self.count :] < 0).all(), "written past count"

    def assert_best(self, count):
        assert self.count == count
        assert self.pixels == reference.select(self.score, count).tolist()


def _words(nanoseconds):
    """Low and high word of the clock."""
    return np.array([nanoseconds], np.int64).view(np.int32)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 11), (9, 31)])
@pytest.mark.parametrize("density", [0, 0.3, 0.7, 1])
@pytest.mark.parametrize("levels", [2, 1000])
def test_scores_and_ties_give_the_list_of_the_definition(interpreter, size, density, levels):
    score = np.random.default_rng(3).integers(-levels, levels, size) / 7
    keep = round(density * score.size)
    Selection(interpreter, score, keep).assert_best(keep)


@pytest.mark.parametrize("keep", [0, 1, 127, 128, 129, 255, 300, 442])
def test_a_map_of_several_blocks(interpreter, keep):
    score = np.random.default_rng(4).normal(size=(17, 26)).round(1)
    Selection(interpreter, score, keep, block=128).assert_best(keep)


def test_scores_that_differ_in_the_last_bit_only(interpreter):
    bits = np.random.default_rng(5).permutation(np.arange(63, dtype=np.uint32)) + 0x3F800000
    Selection(interpreter, bits.view(np.float32).reshape(7, 9), 20).assert_best(20)


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 5, 6, 7])
def test_nan_infinities_and_both_zeros(interpreter, keep):
    score = [[np.nan, -5, np.inf, -np.inf, -0.0, 0.0, np.nan]]
    Selection(interpreter, score, keep).assert_best(keep)


def test_a_larger_budget_only_adds_pixels(interpreter):
    score = np.random.default_rng(1).normal(size=(5, 6)).round(1)
    chosen = [set(Selection(interpreter, score, keep).pixels) for keep in range(0, 31, 3)]
    assert all(small <= large for small, large in pairwise(chosen))


@pytest.mark.parametrize(("keep", "count"), [(-3, 0), (7, 6), (2**31 - 1, 6)])
def test_an_impossible_count_writes_nowhere_else(interpreter, keep, count):
    Selection(interpreter, [[1, 2, 3], [4, 5, 6]], keep).assert_best(count)


@pytest.mark.parametrize(("threshold", "count"), [(-1, 6), (2.0, 3), (4.9, 1), (5, 0), (9, 0)])
def test_only_scores_above_the_threshold_are_listed(interpreter, threshold, count):
    score = [[0, 1, 2], [3, 4, 5]]
    Selection(interpreter, score, 6, (math.inf, 1, threshold)).assert_best(count)
    Selection(interpreter, score, 2, (math.inf, 1, threshold)).assert_best(min(2, count))


def test_without_a_threshold_even_nan_is_listed(interpreter):
    Selection(interpreter, [[np.nan, -np.inf, 1]], 3).assert_best(3)


@pytest.mark.parametrize(
    ("late", "count"),
    [(-1.0, 40), (0.0, 40), (0.25, 35), (0.5, 30), (1.0, 20), (1.75, 5), (2.0, 0), (9.0, 0)],
)
def test_a_late_frame_is_trimmed_in_proportion(interpreter, late, count):
    score = np.random.default_rng(2).normal(size=(6, 8))
    start, began = 3.0, 7 * SECOND
    now = began + round((start + late) * SECOND)
    selection = Selection(interpreter, score, 40, (start, 2.0, -math.inf), began, now)
    selection.assert_best(count)


def test_trimming_acts_on_what_the_threshold_left(interpreter):
    score = np.arange(12.0).reshape(3, 4)
    limits = (0.0, 1.0, 3.5)  # 8 pixels are above, and half of the time is gone.
    Selection(interpreter, score, 10, limits, 0, SECOND // 2).assert_best(4)


@pytest.mark.parametrize("limits", [(0.0, 0.0, -math.inf), (math.nan, 1.0, -math.inf)])
def test_limits_that_no_session_makes_do_no_harm(interpreter, limits):
    selection = Selection(interpreter, [[1, 2, 3]], 2, limits, 0, SECOND)
    assert selection.count in (0, 2)


def test_time_is_counted_across_the_words_of_the_clock(interpreter):
    began = 5 * 2**32 - SECOND // 4
    now = began + SECOND // 2
    score = np.random.default_rng(2).normal(size=(6, 8))
    selection = Selection(interpreter, score, 40, (0.0, 1.0, -math.inf), began, now)
    selection.assert_best(20)
    np.testing.assert_array_equal(selection.stamp, _words(now))
