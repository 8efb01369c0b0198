"""What became of every image of a recording, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Account:
    """Counts of frames; everything that was read is in one of them.

    Attributes:
        images: in the recordings.
        train, held_out: frames that are used, and how.
        seconds: side -> time that its frames cover, a frame counting as long as its distance from
            the one before (at most 1 s).
        left_out: reason -> images.
        truths: "depth", "normals", "labels" -> frames that have it.
        taught: what teachers have labelled, and could not -> frames.
        warnings: what a user should know, a line each.
    """

    images: int = 0
    train: int = 0
    held_out: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    truths: Counter[str] = field(default_factory=Counter)
    taught: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For people, a line each."""
        for side, frames in (("to train on", self.train), ("held out", self.held_out)):
            minutes = self.seconds.get(side, 0.0) / 60.0
            yield f"{side}: {frames} frames, {minutes:.1f} minutes"
        known = ", ".join(f"{name} of {count}" for name, count in self.truths.items())
        yield f"truth: {known or 'none'}"
        for what, count in self.taught.most_common():
            yield f"teachers: {what}, {count} frames"
        for reason, count in self.left_out.most_common():
            yield f"left out: {count} of {self.images} images, {reason}"
        yield from self.warnings

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "images": self.images,
            "train": self.train,
            "held_out": self.held_out,
            "seconds": dict(self.seconds),
            "left_out": dict(self.left_out),
            "truths": dict(self.truths),
            "taught": dict(self.taught),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Account:
        """What `to_json` gave."""
        return cls(
            images=int(data["images"]),
            train=int(data["train"]),
            held_out=int(data["held_out"]),
            seconds={str(k): float(v) for k, v in data["seconds"].items()},
            left_out=Counter({str(k): int(v) for k, v in data["left_out"].items()}),
            truths=Counter({str(k): int(v) for k, v in data["truths"].items()}),
            taught=Counter({str(k): int(v) for k, v in data["taught"].items()}),
            warnings=[str(text) for text in data["warnings"]],
        )
