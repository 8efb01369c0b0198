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
        self._published = 0
        self._least = 1

    @property
    def every(self) -> dict[str, int]:
        """Output -> how many frames share one message of it, for outputs that are thinned."""
        rungs = {name: ladder.rung // self._least for name, ladder in self._ladders.items()}
        return {name: every for name, every in rungs.items() if every > 1}

    def next_of(self, wanted: frozenset[str]) -> frozenset[str]:
        """The outputs that the next frame carries, of those that are wanted.

        What is due stays so until a frame has been published, for frames may be left out or skipped
        in between, every second one for instance. Every frame carries the output that is thinned
        least, above all one that is wanted alone: no other would be in time without it.
        """
        rungs = {name: self._rung(name) for name in wanted}
        self._least = min(rungs.values(), default=1)
        due = (name for name, rung in rungs.items() if self._published % (rung // self._least) == 0)
        return frozenset(due)

    def finished(self, late: bool, seconds: Mapping[str, float]) -> Thinned | None:
        """Take note of a published frame, which says nothing of the outputs that it did not carry.

        Args:
            late: it came out late, because of its publishing.
            seconds: output that it carried -> how long that took to publish.

        Returns:
            The output that is published less or more often from now on; None if all stays.
        """
        self._published += 1
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

    def _rung(self, output: str) -> int:
        ladder = self._ladders.get(output)
        return 1 if ladder is None else ladder.rung
