"""What to do when even the smallest budget is late: steps down a ladder, and back up.

Pure logic: frames come in with how they went, out comes the rung to work on.
"""

from __future__ import annotations

from enum import IntEnum

from pag_ros.budget.ladder import Ladder

CLEAN_TO_RETURN_S = 2.0
"""Seconds of frames in time that usually lead a rung up."""

LONGEST_FRAME_S = 0.25
"""What a frame counts for at most, so that eight frames at least lead up, however rare they are."""


class Rung(IntEnum):
    """The ladder, from the top down; each rung includes those above it."""

    FULL = 0
    HALF_RESOLUTION = 1
    HALF_RATE = 2
    DEGRADED = 3
    """Late even so: nothing is left but to say it."""


class Escalation:
    """The rung that a network works on.

    Args:
        half_resolution: whether there is a network at half the resolution; else that rung is left
            out.
    """

    def __init__(self, half_resolution: bool) -> None:
        rungs = [rung for rung in Rung if half_resolution or rung != Rung.HALF_RESOLUTION]
        self._ladder = Ladder(rungs, CLEAN_TO_RETURN_S)
        self._last_s: float | None = None
        self._left_out_next: set[str] = set()

    @property
    def rung(self) -> Rung:
        """Where we are."""
        return self._ladder.rung

    @property
    def above(self) -> Rung:
        """Where a return would lead."""
        return self._ladder.above

    @property
    def half_rate(self) -> bool:
        """Whether every second frame is left out, so that the others have twice the time."""
        return self.rung >= Rung.HALF_RATE

    def admits(self, camera: str = "") -> bool:
        """Whether a camera's next frame is to be computed; to be asked once for each."""
        if not self.half_rate:
            self._left_out_next.clear()
            return True
        self._left_out_next ^= {camera}
        return camera in self._left_out_next

    def finished(self, late: bool, at_floor: bool, fits_above: bool, now_s: float) -> Rung | None:
        """Take note of a frame that was computed or skipped.

        A return takes seconds, not frames: at half the rate of a slow camera, frames would take
        four times as long.

        Args:
            late: the network's part of it missed the deadline, on half rate the prolonged one, or
                it was skipped.
            at_floor: it had the smallest budget.
            fits_above: the rung above is expected to be in time at its smallest budget.
            now_s: when its turn came, on the caller's clock.

        Returns:
            The new rung, or None if it stays.
        """
        since_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        worth = min(max(0.0, since_s), LONGEST_FRAME_S)
        return self._ladder.finished(late and at_floor, not late, fits_above, worth)
