"""What to do when publishing makes frames late: the slowest output is published less often.

Less work of the network would not mend that. A cloud of two million points, or a subscriber that
has stopped, then costs only the frames that carry it; the others, and their outputs, are in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pag_ros.budget.ladder import Ladder

EVERY = (1, 4, 16, 64)
"""Rungs: an output is published with every first, fourth, ... frame. The steps are wide, for each
costs some late frames."""

CLEAN_TO_RETURN = 15
"""Frames in a row that carry an output and are in time, after which it is published more often."""


class Thinned(NamedTuple):
    """A change: from now on `output` is published with one of `every` frames; 1 is all of them."""

    output: str
    every: int


class Thinning:
    """Which outputs the frames of a camera carry."""

    def __init__(self) -> None:
        self._ladders: dict[str, Ladder[int]] = {}
        self._frame = 0

    @property
    def every(self) -> dict[str, int]:
        """Output -> how many frames share one message of it, for outputs that are thinned."""
        return {name: ladder.rung for name, ladder in self._ladders.items() if ladder.rung > 1}

    def next_of(self, wanted: frozenset[str]) -> frozenset[str]:
        """The outputs that the next frame carries, of those that are wanted; once for each frame.

        An output that is wanted alone is never thinned: no other would be in time for it.
        """
        self._frame += 1
        if len(wanted) == 1:
            return wanted
        every = self.every
        return frozenset(name for name in wanted if self._frame % every.get(name, 1) == 0)

    def finished(self, late: bool, seconds: Mapping[str, float]) -> Thinned | None:
        """Take note of a published frame, which says nothing of the outputs that it did not carry.

        Args:
            late: it came out late, because of its publishing.
            seconds: output that it carried -> how long that took to publish.

        Returns:
            The output that is published less or more often from now on; None if all stays.
        """
        if late and len(seconds) > 1:
            slowest = max(seconds, key=lambda name: seconds[name])
            ladder = self._ladders.setdefault(slowest, Ladder(EVERY, CLEAN_TO_RETURN))
            every = ladder.finished(failed=True, clean=False)
            return None if every is None else Thinned(slowest, every)
        for name in seconds.keys() & self._ladders.keys():
            every = self._ladders[name].finished(failed=late, clean=not late)
            if every is not None:
                return Thinned(name, every)
        return None
