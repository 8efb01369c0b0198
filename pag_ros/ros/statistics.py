"""What happened to the frames: counters that add up, and percentiles of recent durations."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

from pag_ros.budget.outcomes import LOST, MISSED, NODE_OUTCOMES, PROCESSED

RECENT_FRAMES = 300
"""Frames behind the percentiles and the miss rate: ten seconds of a usual camera."""


class FrameStatistics:
    """Counters and recent durations; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._missed: deque[bool] = deque(maxlen=RECENT_FRAMES)
        self._seconds: dict[str, deque[float]] = {}

    def received(self, frames: int = 1) -> None:
        """Frames have come in."""
        with self._lock:
            self._counts["received"] += frames

    def lost(self, frames: int) -> None:
        """Frames were lost between the camera and the node: nothing that a deadline can mend."""
        with self._lock:
            self._counts[LOST] += frames

    def finished(self, outcome: str, frames: int = 1) -> None:
        """Frames that were not processed have met their end, one of `DROPPED`."""
        with self._lock:
            self._counts[outcome] += frames
            if outcome in MISSED:
                self._missed.extend([True] * frames)

    def processed(self, seconds: Mapping[str, float], late: bool) -> None:
        """A frame has been published.

        Args:
            seconds: duration of each stage.
            late: whether that was after its deadline.
        """
        with self._lock:
            self._counts[PROCESSED] += 1
            self._counts["late"] += late
            self._missed.append(late)
            for stage, duration in seconds.items():
                self._seconds.setdefault(stage, deque(maxlen=RECENT_FRAMES)).append(duration)

    def counts(self) -> dict[str, int]:
        """Totals: received, every outcome; late, a part of processed; lost, none of received."""
        with self._lock:
            return {name: self._counts[name] for name in ("received", *NODE_OUTCOMES, "late", LOST)}

    def miss_rate(self) -> float | None:
        """Share of recent frames late or dropped for time; None before the first frame."""
        with self._lock:
            return sum(self._missed) / len(self._missed) if self._missed else None

    def percentiles_ms(self) -> dict[str, tuple[float, float, float]]:
        """Stage -> its 50th, 95th and 99th percentile over the recent frames, milliseconds."""
        with self._lock:
            recent = {stage: list(values) for stage, values in self._seconds.items()}
        return {
            stage: tuple(np.percentile(values, (50, 95, 99)) * 1e3)
            for stage, values in recent.items()
        }


class SequenceGaps:
    """Tells messages that a newer one has replaced in the queue from those lost on their way.

    Both leave a gap in the publisher's numbers. The middleware reports the lost ones apart, a
    moment before or after the message behind the gap.
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._unexplained = 0
        self._lost_ahead = 0

    def arrived(self, number: int | None) -> int:
        """Take note of a message.

        Args:
            number: the publisher's count of its messages, None where the middleware does not tell.

        Returns:
            How many messages had been replaced in the queue before the message before this one.
        """
        last, self._last = self._last, number
        gap = 0 if number is None or last is None else max(0, number - last - 1)
        replaced = self._unexplained
        self._unexplained = max(0, gap - self._lost_ahead)
        self._lost_ahead = max(0, self._lost_ahead - gap) if gap else 0
        return replaced

    def lost(self, messages: int) -> None:
        """Take note of messages that the middleware says were lost."""
        explained = min(messages, self._unexplained)
        self._unexplained -= explained
        self._lost_ahead += messages - explained
