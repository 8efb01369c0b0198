"""Cameras share one network such that all of them can be served."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.budget import fair_time_s

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
