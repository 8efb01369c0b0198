"""Stage durations from time stamps; the stamps here are made up, not a GPU's."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.runtime.tensorrt.stage_times import FrameTimes, StageTimes, marks_of, words_of

IDLE = FrameTimes(np.cumsum([0, 2_000_000, 500_000, 1_000_000]), 4e-3, 0.1e-3)
"""Encoder 2 ms, block 0.5 ms, heads 1 ms after the idle last block began."""


def times(*steps_ms: float, host_ms: float, waited_ms: float = 0.1) -> FrameTimes:
    marks = np.cumsum([7e15, *(1e6 * step for step in steps_ms)]).astype(np.int64)
    return FrameTimes(marks, host_ms * 1e-3, waited_ms * 1e-3)


def test_the_last_block_is_what_the_heads_leave() -> None:
    found = StageTimes([IDLE]).stage_seconds(times(2.0, 0.5, 1.75, host_ms=4.25))
    assert found == pytest.approx((2e-3, 0.5e-3, 0.75e-3, 1e-3))


def test_heads_slow_down_with_the_encoder() -> None:
    found = StageTimes([IDLE]).stage_seconds(times(4.0, 1.0, 3.5, host_ms=8.5))
    assert found == pytest.approx((4e-3, 1e-3, 1.5e-3, 2e-3))


def test_what_the_host_adds_counts_before_and_after() -> None:
    found = StageTimes([IDLE]).stage_seconds(times(2.0, 0.5, 1.0, host_ms=4.0, waited_ms=0.2))
    assert found == pytest.approx((2.2e-3, 0.5e-3, 0.0, 1.3e-3))
    assert sum(found) == pytest.approx(4e-3)


def test_waiting_behind_other_work_belongs_to_the_first_stage() -> None:
    found = StageTimes([IDLE]).stage_seconds(times(2.0, 0.5, 1.0, host_ms=13.6, waited_ms=10.0))
    assert found == pytest.approx((12e-3, 0.5e-3, 0.0, 1.1e-3))


def test_a_coarse_clock_gives_zeros_and_nothing_negative() -> None:
    stages = StageTimes([times(0.0, 0.0, 0.0, host_ms=1.0)])
    found = stages.stage_seconds(times(0.0, -1.0, 0.0, host_ms=1.0))
    assert min(found) >= 0.0
    assert sum(found) == pytest.approx(1e-3)


def test_marks_join_both_words_without_a_sign() -> None:
    clock = np.array([-1, 0], np.int32)
    stamps = np.array([[0, 1], [-1, 1]], np.int32)
    end = np.array([5, -2147483648 + 1], np.int32)
    marks = marks_of(clock, stamps, end)
    assert marks[:3].tolist() == [2**32 - 1, 2**32, 2**33 - 1]


def test_words_are_the_reverse_of_marks() -> None:
    for moment in (0, 2**31, 2**32 - 1, 2**32, 1_800_000_000_123_456_789):
        words = words_of(moment)
        assert marks_of(words, np.zeros((0, 2), np.int32), words).tolist() == [moment, moment]
