"""How the outputs of a frame were made and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """How the outputs of a frame were made and sent.

    Attributes:
        seconds: topic -> how long it took to make its message and to send it.
        sizes: topic -> bytes of its message, where that is known.
    """

    seconds: Mapping[str, float]
    sizes: Mapping[str, int]

    @property
    def total_s(self) -> float:
        """Seconds for all of them."""
        return sum(self.seconds.values())

    @property
    def slowest(self) -> str:
        """The topic that took longest, with its share and size, for people."""
        if not self.seconds:
            return "nothing"
        topic = max(self.seconds, key=lambda name: self.seconds[name])
        size = self.sizes.get(topic)
        megabytes = f", {size * 1e-6:.1f} MB" if size is not None else ""
        return f"{topic} ({self.seconds[topic] * 1e3:.0f} ms{megabytes})"
