"""When a frame is due: from its capture stamp where clocks allow, else from its arrival."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

import numpy as np

DEFAULT_PERIOD_S = 0.1
"""Assumed until two frames have told the camera's period."""

MAX_STAMP_AGE_S = 2.0
"""A stamp older than this comes from a bag or another clock, not from a camera."""

MAX_PERIOD_S = 10.0
"""The longest deadline that can be set; stamps further apart are those of a clock that was set."""

PERIODS_KEPT = 31


class CameraPeriod:
    """Estimates the time between frames from their capture stamps."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._periods: deque[float] = deque(maxlen=PERIODS_KEPT)

    def observe(self, stamp_s: float) -> None:
        """Take note of a frame's capture time, seconds on any clock; jumps back start anew."""
        if self._last is not None and stamp_s < self._last:
            self._periods.clear()
        elif self._last is not None and stamp_s > self._last:
            self._periods.append(min(stamp_s - self._last, MAX_PERIOD_S))
        self._last = stamp_s

    @property
    def seconds(self) -> float:
        """The median period: lost and late frames do not disturb it."""
        return float(np.median(self._periods)) if self._periods else DEFAULT_PERIOD_S


def age_at_arrival(stamp_s: float, now_s: float, sim_time: bool) -> float:
    """How old a frame was when it arrived, seconds; 0 where stamp and clock do not fit together.

    Args:
        stamp_s: the header's stamp.
        now_s: the node's clock at arrival.
        sim_time: the clock is a bag's or simulator's and too coarse to tell.
    """
    age = now_s - stamp_s
    return age if not sim_time and 0.0 <= age <= MAX_STAMP_AGE_S else 0.0


class Stopwatch:
    """Durations of the parts of some work, in seconds."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.laps: dict[str, float] = {}
        self._last = self.began

    def lap(self, part: str) -> float:
        """End a part; returns `time.perf_counter()`."""
        now = time.perf_counter()
        self.laps[part] = now - self._last
        self._last = now
        return now


class ArrivalReport(NamedTuple):
    """How an input does.

    Attributes:
        silent_s: seconds since the last image, or since the beginning.
        rate_hz: images per second since the last report.
        lost_share: of the images since the last report, those that were lost on their way; 0 to 1.
    """

    silent_s: float
    rate_hz: float
    lost_share: float


class Arrivals:
    """Rate, silence and losses of an input, by the node's clock."""

    def __init__(self, now_s: float) -> None:
        self._last_arrival = self._last_report = now_s
        self._count = self._lost = 0

    def arrived(self, now_s: float) -> None:
        """An image has come."""
        self._last_arrival = now_s
        self._count += 1

    def lost(self, images: int) -> None:
        """Images have not come."""
        self._lost += images

    def silent_s(self, now_s: float) -> float:
        """Seconds since the last image, or since the beginning."""
        return max(0.0, now_s - self._last_arrival)

    def report(self, now_s: float) -> ArrivalReport:
        """What has come, and what has not, since the last report."""
        elapsed = now_s - self._last_report
        rate = self._count / elapsed if elapsed > 0.0 else 0.0
        lost_share = self._lost / max(1, self._count + self._lost)
        self._last_report, self._count, self._lost = now_s, 0, 0
        return ArrivalReport(self.silent_s(now_s), rate, lost_share)
