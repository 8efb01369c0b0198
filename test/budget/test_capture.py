"""When frames are due, and how cameras share one network such that all of them can be served."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.budget.capture import (
    DEFAULT_PERIOD_S,
    MAX_PERIOD_S,
    MAX_STAMP_AGE_S,
    CameraPeriod,
    FrameTiming,
    Schedule,
    age_at_arrival,
    fair_time_s,
)

PERIODS = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6)


@pytest.mark.parametrize("periods", [[], [0.05]])
def test_without_another_camera_nothing_is_shared(periods):
    assert fair_time_s(periods) == math.inf


@given(PERIODS)
def test_the_frames_of_all_cameras_fill_the_time_exactly(periods):
    assert sum(fair_time_s(periods) / period for period in periods) == pytest.approx(1.0)


@pytest.mark.parametrize("period", [0.0, -0.1, math.nan])
def test_a_period_must_be_positive(period):
    with pytest.raises(ValueError, match="positive"):
        fair_time_s([0.1, period])


@settings(max_examples=50)
@given(PERIODS, st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_no_camera_starves_and_lateness_stays_below_one_frame(periods, offsets):
    """Earliest deadline first, frames that run to their end: one frame may be in the way."""
    fair = fair_time_s(periods)
    arrivals = sorted(
        ((offset + number) * period, camera)
        for camera, (period, offset) in enumerate(zip(periods, offsets, strict=False))
        for number in range(round(5.0 / period))
    )
    waiting: list[tuple[float, int]] = []
    now, served = 0.0, [0] * len(periods)
    while arrivals or waiting:
        if not waiting:
            now = max(now, arrivals[0][0])
        while arrivals and arrivals[0][0] <= now:
            at, camera = arrivals.pop(0)
            heapq.heappush(waiting, (at + periods[camera], camera))
        due, camera = heapq.heappop(waiting)
        now += fair
        served[camera] += 1
        assert now <= due + fair + 1e-9
    assert served == [round(5.0 / period) for period in periods]


def test_the_period_is_the_usual_time_between_stamps() -> None:
    period = CameraPeriod()
    assert period.seconds == DEFAULT_PERIOD_S
    for stamp in (0.0, 0.04, 0.08, 0.20, 0.24):  # one frame lost
        period.observe(stamp)
    assert period.seconds == pytest.approx(0.04)


def test_a_clock_that_is_set_gives_no_deadline_of_years() -> None:
    period = CameraPeriod()
    for stamp in (0.0, 1.7e9):  # before and after the camera has heard what time it is
        period.observe(stamp)
    assert period.seconds == MAX_PERIOD_S


def test_a_bag_that_starts_over_does_not_confuse_the_period() -> None:
    period = CameraPeriod()
    for stamp in (5.0, 5.1, 1.0, 1.05, 1.1):
        period.observe(stamp)
    assert period.seconds == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("stamp", "sim_time", "age"),
    [
        (99.97, False, 0.03),
        (99.97, True, 0.0),
        (100.5, False, 0.0),
        (100.0 - MAX_STAMP_AGE_S - 1, False, 0.0),
    ],
    ids=["camera", "simulation", "from the future", "from a bag"],
)
def test_only_believable_stamps_make_a_frame_older(
    stamp: float, sim_time: bool, age: float
) -> None:
    assert age_at_arrival(stamp, 100.0, sim_time) == pytest.approx(age)


def send(schedule: Schedule, camera: str, period_s: float, frames: int, begin_s: float = 0.0):
    """Frames of a camera, each 4 ms old when it arrives; the timing of the last one."""
    for frame in range(frames):
        stamp_s = begin_s + frame * period_s
        timing = schedule.arrived(camera, 50.0 + stamp_s + 0.004, stamp_s, stamp_s + 0.004)
    return timing


def test_a_frame_is_due_a_deadline_after_its_capture():
    timing = FrameTiming(arrived_s=7.0, age_s=0.02, deadline_s=0.1)
    assert timing.due_s == pytest.approx(7.08)


def test_the_deadline_is_the_period_unless_another_one_is_wanted():
    schedule = Schedule()
    timing = send(schedule, "front", 0.05, 4)
    assert timing.deadline_s == pytest.approx(0.05)
    assert timing.age_s == pytest.approx(0.004)
    assert timing.due_s == pytest.approx(timing.arrived_s - 0.004 + 0.05)
    wanted = schedule.arrived("front", 60.0, 0.20, 0.204, deadline_s=0.3)
    assert wanted.due_s == pytest.approx(60.0 - 0.004 + 0.3)
    assert schedule.deadline_s("front") == pytest.approx(0.05)
    assert schedule.deadline_s("unseen") == DEFAULT_PERIOD_S


def test_under_simulated_time_a_frame_is_due_from_its_arrival():
    timing = Schedule().arrived("", 60.0, 0.20, 0.23, deadline_s=0.1, sim_time=True)
    assert timing.due_s == pytest.approx(60.1)


def test_a_single_camera_shares_with_nobody():
    assert send(Schedule(), "front", 0.05, 4).fair_s == math.inf


def test_two_cameras_share_the_time_by_their_periods():
    schedule = Schedule()
    send(schedule, "left", 0.04, 4)
    timing = send(schedule, "right", 0.12, 4)
    assert timing.fair_s == pytest.approx(1.0 / (1.0 / 0.04 + 1.0 / 0.12))


def test_a_camera_that_has_fallen_silent_needs_no_share():
    schedule = Schedule()
    send(schedule, "left", 0.05, 4)
    assert send(schedule, "right", 0.05, 21).fair_s < math.inf, "silent for .85 s: still counted"
    assert send(schedule, "right", 0.05, 2, begin_s=1.25).fair_s == math.inf


def test_a_slow_camera_may_be_silent_for_some_of_its_periods():
    schedule = Schedule()
    send(schedule, "slow", 1.0, 4)
    assert send(schedule, "fast", 0.05, 2, begin_s=7.5).fair_s < math.inf
    assert send(schedule, "fast", 0.05, 2, begin_s=8.5).fair_s == math.inf


def test_a_camera_that_is_not_listened_to_any_longer_needs_no_share():
    schedule = Schedule()
    send(schedule, "left", 0.05, 4)
    send(schedule, "right", 0.05, 4)
    schedule.stopped("left")
    assert send(schedule, "right", 0.05, 2, begin_s=0.2).fair_s == math.inf
    assert schedule.deadline_s("left") == pytest.approx(0.05), "its period is still known"
