"""Down the ladder when the floor is late, back up when there is room, without swinging for ever."""

from __future__ import annotations

from itertools import count

import pytest

from pag_ros.budget.escalation import CLEAN_TO_RETURN_S, LONGEST_FRAME_S, Escalation, Rung
from pag_ros.budget.ladder import FAILURES_TO_STEP_DOWN as LATE_TO_ESCALATE

FRAME_S = 0.125
"""Between frames; a power of two, so that sums of it are exact."""

CLEAN_TO_RETURN = int(CLEAN_TO_RETURN_S / FRAME_S)

CLOCK = count(step=FRAME_S)


def late(escalation: Escalation, frames: int, at_floor: bool = True) -> list[Rung]:
    rungs = [escalation.finished(True, at_floor, False, next(CLOCK)) for _ in range(frames)]
    return [rung for rung in rungs if rung is not None]


def clean(escalation: Escalation, frames: int, fits_above: bool = True) -> list[Rung]:
    rungs = [escalation.finished(False, False, fits_above, next(CLOCK)) for _ in range(frames)]
    return [rung for rung in rungs if rung is not None]


def test_three_late_frames_at_the_floor_lead_down_rung_by_rung():
    escalation = Escalation(half_resolution=True)
    assert escalation.rung == Rung.FULL
    assert late(escalation, LATE_TO_ESCALATE - 1) == []
    assert late(escalation, 1) == [Rung.HALF_RESOLUTION]
    assert late(escalation, LATE_TO_ESCALATE) == [Rung.HALF_RATE]
    assert late(escalation, LATE_TO_ESCALATE) == [Rung.DEGRADED]
    assert late(escalation, 100) == []
    assert escalation.rung == Rung.DEGRADED


def test_a_network_without_half_resolution_goes_to_half_rate_at_once():
    escalation = Escalation(half_resolution=False)
    assert late(escalation, LATE_TO_ESCALATE) == [Rung.HALF_RATE]
    assert escalation.above == Rung.FULL


def test_late_frames_above_the_floor_lead_nowhere():
    assert late(Escalation(True), 100, at_floor=False) == []


def test_a_frame_in_time_breaks_the_row():
    escalation = Escalation(True)
    for _ in range(10):
        assert late(escalation, LATE_TO_ESCALATE - 1) == []
        assert clean(escalation, 1) == []


def test_two_clean_seconds_lead_back_up():
    escalation = Escalation(True)
    late(escalation, LATE_TO_ESCALATE)
    assert clean(escalation, CLEAN_TO_RETURN - 1) == []
    assert clean(escalation, 1) == [Rung.FULL]
    assert clean(escalation, 1000) == []


@pytest.mark.parametrize(
    ("interval_s", "frames"), [(1 / 64, 128), (1 / 8, 16), (1.0, 8), (-1.0, None)]
)
def test_a_return_takes_seconds_whatever_the_rate_and_eight_frames_at_least(interval_s, frames):
    """A pause is not eight clean frames, nor is a clock that goes back a clean second."""
    escalation, clock = Escalation(True), count(step=interval_s)
    for _ in range(LATE_TO_ESCALATE):
        escalation.finished(True, True, False, next(clock))
    rungs = [escalation.finished(False, False, True, next(clock)) for _ in range(1000)]
    assert LONGEST_FRAME_S * 8 == CLEAN_TO_RETURN_S
    assert (rungs.index(Rung.FULL) + 1 if Rung.FULL in rungs else None) == frames


def test_a_clock_that_has_jumped_back_delays_nothing():
    escalation = Escalation(True)
    late(escalation, LATE_TO_ESCALATE)
    escalation.finished(False, False, True, -1000.0)
    assert clean(escalation, CLEAN_TO_RETURN) == [Rung.FULL]


def test_nobody_returns_to_where_the_floor_would_be_late():
    escalation = Escalation(True)
    late(escalation, LATE_TO_ESCALATE)
    assert clean(escalation, 1000, fits_above=False) == []
    assert clean(escalation, 1) == [Rung.FULL]


def test_returns_that_fail_become_rarer():
    escalation = Escalation(True)
    late(escalation, LATE_TO_ESCALATE)
    waits = []
    for _ in range(6):
        waits.append(0)
        while escalation.rung != Rung.FULL:
            clean(escalation, 1)
            waits[-1] += 1
        late(escalation, LATE_TO_ESCALATE)
    assert waits == sorted(waits)
    assert waits[0] == CLEAN_TO_RETURN
    assert waits[-1] == 16 * CLEAN_TO_RETURN


@pytest.mark.parametrize("rungs_down", [0, 1])
def test_at_the_whole_rate_every_frame_is_computed(rungs_down):
    escalation = Escalation(True)
    late(escalation, rungs_down * LATE_TO_ESCALATE)
    assert not escalation.half_rate
    assert all(escalation.admits() for _ in range(10))


def test_at_half_the_rate_every_second_frame_is_left_out():
    escalation = Escalation(True)
    late(escalation, 2 * LATE_TO_ESCALATE)
    assert escalation.half_rate
    admitted = [escalation.admits() for _ in range(6)]
    assert admitted == [True, False, True, False, True, False]


def test_at_half_the_rate_cameras_that_take_turns_are_all_seen():
    escalation = Escalation(True)
    late(escalation, 2 * LATE_TO_ESCALATE)
    admitted = [(camera, escalation.admits(camera)) for camera in "lrlrlrlr"]
    for camera in "lr":
        assert [a for name, a in admitted if name == camera] == [True, False, True, False]
