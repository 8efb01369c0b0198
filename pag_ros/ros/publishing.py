"""How long publishing takes, and whether it is what makes frames late.

It can be slow for reasons that no budget mends: a subscriber that has stopped, a cloud of two
million points. Then the network keeps its resolution and its rate, and the user is told what is
slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pag_ros.budget import Reserve


@dataclass(frozen=True)
class Published:
    """How the outputs of a frame were made and sent.

    Attributes:
        seconds: topic -> how long it took to make its message and to send it.
        sizes: topic -> bytes of its message, where that is known.
    """

    seconds: Mapping[str, float]
    sizes: Mapping[str, int]

    def slowest(self) -> str:
        """The topic that took longest, with its share and size, for people."""
        if not self.seconds:
            return "nothing"
        topic = max(self.seconds, key=lambda name: self.seconds[name])
        size = self.sizes.get(topic)
        megabytes = f", {size * 1e-6:.1f} MB" if size is not None else ""
        return f"{topic} ({self.seconds[topic] * 1e3:.0f} ms{megabytes})"


class PublishingTime:
    """Sets time aside for publishing, and tells whether it is publishing that takes too long."""

    def __init__(self) -> None:
        self._reserve = Reserve()

    @property
    def seconds(self) -> float:
        """What publishing usually takes at most."""
        return self._reserve.seconds

    def observe(self, seconds: float) -> None:
        """Take note of how long it took this time."""
        self._reserve.observe(seconds)

    def exceeds(self, network_s: float) -> bool:
        """Whether publishing takes longer than all that is before it.

        Then a late frame is late by publishing, and a faster network would not mend it.

        Args:
            network_s: what decoding, the network and enlarging take.
        """
        return self.seconds > network_s

    def time_for_network(self, left_s: float, whole_s: float, floor_s: float) -> float:
        """The time that the network is planned for.

        That is what publishing leaves of the time left. But where it leaves too little for the
        smallest budget, and is itself the longer part, less work would not save the frame: then
        the network is planned as if publishing took no time, and keeps its budget.

        Args:
            left_s: seconds until the outputs are due; less than `whole_s` where the frame had to
                wait, for instance until the one before it was published.
            whole_s: the same for a frame that did not have to wait.
            floor_s: what the smallest budget takes.
        """
        rest_s = left_s - self.seconds
        if rest_s < floor_s and self.exceeds(floor_s):
            return whole_s
        return rest_s
