"""Durations of a frame's parts, and how an input does."""

from __future__ import annotations

import time
from typing import NamedTuple


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
    """

    silent_s: float
    rate_hz: float
    lost_share: float
    images: int


class Arrivals:
    """Rate, silence and losses of an input, by the node's clock."""

    def __init__(self, now_s: float) -> None:
        self._last_arrival = self._last_report = now_s
        self._count = self._lost = self._images = 0

    def arrived(self, now_s: float) -> None:
        """An image has come."""
        self._last_arrival = now_s
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
        return ArrivalReport(self.silent_s(now_s), rate, lost_share, self._images)
