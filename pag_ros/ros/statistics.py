"""What happened to the frames: counters that add up, and percentiles of recent durations."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

OUTCOMES = ("processed", "superseded", "skipped", "abandoned", "bad", "idle")
"""Each received frame ends as one of these (or is still in the mailbox or in work).

superseded: a newer frame came before its turn; skipped: it could not be done before its deadline,
or is left out at half the frame rate; abandoned: it was so late that a newer one is worth more;
bad: the message could not be decoded; idle: nobody subscribed to an output, or output is disabled.
"""

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

    def finished(self, outcome: str, frames: int = 1) -> None:
        """Frames that were not processed have met their end, one of `OUTCOMES`."""
        with self._lock:
            self._counts[outcome] += frames
            if outcome in ("superseded", "skipped", "abandoned"):
                self._missed.extend([True] * frames)

    def processed(self, seconds: Mapping[str, float], late: bool) -> None:
        """A frame has been published.

        Args:
            seconds: duration of each stage.
            late: whether that was after its deadline.
        """
        with self._lock:
            self._counts["processed"] += 1
            self._counts["late"] += late
            self._missed.append(late)
            for stage, duration in seconds.items():
                self._seconds.setdefault(stage, deque(maxlen=RECENT_FRAMES)).append(duration)

    def counts(self) -> dict[str, int]:
        """Totals: received, every outcome, and late (a part of processed)."""
        with self._lock:
            return {name: self._counts[name] for name in ("received", *OUTCOMES, "late")}

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
    """Finds the messages that a queue of one has dropped before anybody saw them."""

    def __init__(self) -> None:
        self._last: int | None = None

    def missed(self, number: int | None) -> int:
        """How many messages are missing before this one.

        Args:
            number: the publisher's count of its messages, None where the middleware does not tell.
        """
        last, self._last = self._last, number
        if number is None or last is None or number <= last:
            return 0
        return number - last - 1
