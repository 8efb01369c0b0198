"""What became of a bag's ground truth: every message is scored, or counted with the reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pag_ros.evaluation.matching import RECORDING_TIMES, Pairing

DAY_NS = 86_400 * 10**9
MIN_TOLD_MS = 0.05
"""Offsets between truth and image below are none."""


@dataclass
class TruthTally:
    """The messages of one topic of ground truth.

    Attributes:
        kind: "depth", "normals" or "labels".
        topic: its name, fit to be printed.
        is_asked_for: whether the user named the topic; otherwise it was found.
        pairing: which image each message belongs to.
        scored: messages that outputs were compared with.
        unmatched: why messages belong to no image -> how many.
        unusable: what is wrong with messages that belong to one -> how many.
        unscored: why good messages had nothing to be compared with -> how many.
        notes: what had to be done to messages before they could be of use -> how many.
    """

    kind: str
    topic: str
    is_asked_for: bool
    pairing: Pairing
    scored: int = 0
    unmatched: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Begin with what the pairing has left out."""
        self.unmatched.update(self.pairing.unmatched)

    @property
    def matched(self) -> int:
        """Messages that belong to an image, as far as the bag was read."""
        return self.scored + self.unusable.total() + self.unscored.total()

    @property
    def unread(self) -> int:
        """Messages whose images were not reached, because the reading was ended early."""
        return self.pairing.messages - self.matched - self.unmatched.total()

    def reject(self, reason: str) -> None:
        """A message that was taken for scored turns out to be of no use."""
        self.scored -= 1
        self.unusable[reason] += 1

    def leave_unscored(self, reason: str) -> None:
        """A message that was taken for scored has nothing to be compared with."""
        self.scored -= 1
        self.unscored[reason] += 1

    def summary(self) -> str:
        """Say in one line how many messages there are and what became of them."""
        parts = {
            "scored": self.scored,
            "unmatched": self.unmatched.total(),
            "unusable": self.unusable.total(),
            "without an output": self.unscored.total(),
            "not reached": self.unread,
        }
        ends = ", ".join(f"{n} {name}" for name, n in parts.items() if n or name == "scored")
        text = f"truth {self.kind} ({self.topic}): {self.pairing.messages} messages, {ends}"
        offset = self.offset_ms()
        if any(abs(value) >= MIN_TOLD_MS for value in offset.values()):
            text += (
                f"; {offset['median']:+.1f} ms from its image (median; from {offset['min']:+.1f} "
                f"to {offset['max']:+.1f})"
            )
        return "; ".join([text, *(f"{count} {note}" for note, count in self.notes.items())])

    def warnings(self) -> Iterator[str]:
        """Say in one line each what makes the topic give less than it should."""
        start = f"truth {self.kind} ({self.topic})"
        if self.pairing.clock == RECORDING_TIMES and self.pairing.partners:
            yield (
                f"{start}: stamps stand still, so that images and truth were paired by "
                "the times of their recording"
            )
        lacks = [*self.unmatched.items(), *self.unusable.items()]
        if not self.scored:
            lacks += self.unscored.items()
        for reason, count in lacks:
            yield f"{start}: {count} of {self.pairing.messages} messages left out: {reason}"

    def failure(self) -> str | None:
        """Say in one line that the topic gave nothing at all, if the reason lies in the bag."""
        reasons = self.unusable + (self.unscored if self.is_asked_for else Counter())
        if not self.unread:
            reasons += self.unmatched
        if self.scored or not reasons:
            return None
        found = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
        return (
            f"{self.topic}: not one of {self.pairing.messages} messages of true {self.kind} could "
            f"be scored ({found}{self._hint()}); choose another by --{self.kind}-topic, or none"
        )

    def offset_ms(self) -> dict[str, float]:
        """Return the median, min and max from an image to its message, by the pairing's clock."""
        offsets = self.pairing.offsets_ns
        if not offsets:
            return {}
        return {
            "median": median(offsets) / 1e6,
            "min": min(offsets) / 1e6,
            "max": max(offsets) / 1e6,
        }

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON values."""
        return {
            "topic": self.topic,
            "messages": self.pairing.messages,
            "matched": self.matched,
            "scored": self.scored,
            "unmatched": dict(self.unmatched),
            "unusable": dict(self.unusable),
            "unscored": dict(self.unscored),
            "notes": dict(self.notes),
            "unread": self.unread,
            "matched_by": self.pairing.clock,
            "offset_ms": self.offset_ms(),
        }

    def _hint(self) -> str:
        """How the messages could be matched, where stamps leave none of them an image."""
        nearest_ns = self.pairing.nearest_ns
        if self.pairing.partners or self.pairing.clock == RECORDING_TIMES or nearest_ns is None:
            return ""
        if nearest_ns > DAY_NS:
            return "; the nearest is more than a day away: stamps of different clocks"
        wide_ms = math.ceil(nearest_ns / 1e6)
        return f"; the nearest is {nearest_ns / 1e6:.1f} ms away: --sync-tolerance {wide_ms}"


def describe_failures(tallies: Iterable[TruthTally]) -> str | None:
    """Say in one line which topics gave nothing at all; None if all gave something."""
    return "; ".join(text for tally in tallies if (text := tally.failure()) is not None) or None
