"""A late frame trims the blocks that are still to come, in proportion, downwards only."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pag_ros.runtime import Deadline, frame_clock
from pag_ros.runtime.frame_clock import THRESHOLD, FrameClock, limit_rows


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """A clock that the test moves: now[0] is the time."""
    now = [100.0]
    monkeypatch.setattr(frame_clock.time, "perf_counter", lambda: now[0])
    return now


def started(now: list[float]) -> FrameClock:
    clock = FrameClock(["a", "b"])
    clock.start()
    return clock


def plan(start: float, rest: float) -> np.ndarray:
    return np.array([start, rest], np.float32)


def test_stage_durations_run_from_mark_to_mark(now):
    clock = started(now)
    for seconds, mark in [
        (5, lambda: clock.begin_block("a", 9, plan(math.inf, 1))),
        (2, clock.end_gated),
        (1, lambda: clock.begin_block("b", 9, plan(math.inf, 1))),
        (4, clock.end_gated),
        (3, lambda: None),
    ]:
        now[0] += seconds
        mark()
    assert clock.stage_seconds() == (5, 3, 4, 3)


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(1.0, 100), (2.0, 100), (3.0, 75), (5.9, 2), (6.0, 0), (99.0, 0)]
)
def test_keep_falls_linearly_with_lateness(now, elapsed, expected):
    clock = started(now)
    now[0] += elapsed
    assert clock.begin_block("a", 100, plan(2.0, 4.0)) == expected


@pytest.mark.parametrize("values", [(math.inf, 1.0), (math.nan, 1.0), (math.inf, 0.0)])
def test_without_a_deadline_nothing_is_trimmed(now, values):
    clock = started(now)
    now[0] += 1e6
    assert clock.begin_block("a", 100, plan(*values)) == 100


def test_no_gated_time_left_means_nothing_left_to_compute(now):
    clock = started(now)
    now[0] += 1.0
    assert clock.begin_block("a", 100, plan(0.5, 0.0)) == 0


def test_the_plan_counts_back_from_the_deadline():
    rows = limit_rows(Deadline(at=110.0, planned_seconds=(1, 2, 3, 0.5)), 100.0, 2)
    assert rows.dtype == np.float32
    # heads .5 s, so block b (3 s) must begin by 6.5 s and block a (2 s) by 4.5 s
    assert rows[:, :2].tolist() == [[4.5, 5.0], [6.5, 3.0]]


def test_no_deadline_gives_a_plan_that_never_trims():
    assert limit_rows(None, 0.0, 3)[:, 0].tolist() == [math.inf] * 3


def test_thresholds_take_their_place_beside_the_times():
    rows = limit_rows(None, 0.0, 2, thresholds=(0.5, -1.0))
    assert rows.tolist() == [[math.inf, 1.0, 0.5], [math.inf, 1.0, -1.0]]
    assert limit_rows(None, 0.0, 2)[:, THRESHOLD].tolist() == [-math.inf] * 2


def test_trimming_brings_a_late_frame_back_to_its_deadline(now):
    rows = limit_rows(Deadline(at=110.0, planned_seconds=(1, 4, 4, 1)), 100.0, 2)
    clock = started(now)
    now[0] += 5.0  # the encoder took 5 s, not 1
    for name, row in zip("ab", rows, strict=True):
        keep = clock.begin_block(name, 1000, row)
        now[0] += 4.0 * keep / 1000
    now[0] += 1.0
    assert now[0] == pytest.approx(110.0, abs=0.02)


def test_blocks_that_told_the_time_themselves_are_recorded(now):
    clock = started(now)
    now[0] += 5
    assert clock.elapsed() == 5
    now[0] += 10
    clock.record(["b", "a"], [9.0, 6.0], 13.0)
    assert clock.stage_seconds() == (6, 3, 4, 2)
