"""Durations of a frame's parts, and how an input does."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

import numpy as np


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
        images: that have come since the beginning.
        camera_hz: at which the camera takes pictures, by their stamps; None if these do not tell.
    """

    silent_s: float
    rate_hz: float
    lost_share: float
    images: int
    camera_hz: float | None = None


class StampRate:
    """The rate at which a camera takes pictures, by the stamps of those that come.

    Where pictures are missing, stamps lie whole periods apart. Where the camera's rate varies they
    do not, and tell nothing.
    """

    _KEPT = 60
    _FEWEST = 10
    _JITTER = 0.2
    _REGULAR_SHARE = 0.9

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=self._KEPT)

    def arrived(self, stamp_s: float) -> None:
        """A picture of that stamp has come."""
        last_s, self._last_s = self._last_s, stamp_s
        if last_s is not None and stamp_s > last_s:
            self._intervals_s.append(stamp_s - last_s)

    def rate_hz(self) -> float | None:
        """Pictures a second that the camera takes; None if that cannot be told."""
        if len(self._intervals_s) < self._FEWEST:
            return None
        intervals = np.sort(self._intervals_s)
        shortest = intervals[len(intervals) // 10]
        near = intervals[intervals < 1.5 * shortest]
        periods = intervals / near.mean()
        regular = np.abs(periods - periods.round()) < self._JITTER
        return float(1.0 / near.mean()) if regular.mean() >= self._REGULAR_SHARE else None


class Arrivals:
    """Rate, silence and losses of an input, by the node's clock."""

    def __init__(self, now_s: float) -> None:
        self._last_arrival = self._last_report = now_s
        self._count = self._lost = self._images = 0
        self._stamps = StampRate()

    def arrived(self, now_s: float, stamp_s: float) -> None:
        """An image has come.

        Args:
            now_s: time.
            stamp_s: of the image.
        """
        self._last_arrival = now_s
        self._stamps.arrived(stamp_s)
        self._count += 1
        self._images += 1

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
        camera_hz = self._stamps.rate_hz()
        return ArrivalReport(self.silent_s(now_s), rate, lost_share, self._images, camera_hz)
