"""What to do when even the smallest budget is late: steps down a ladder, and back up.

Pure logic: frames come in with how they went, out comes the rung to work on.
"""

from __future__ import annotations

from enum import IntEnum

LATE_TO_ESCALATE = 3
"""Frames in a row, late at the floor, that lead a rung down."""

CLEAN_TO_RETURN = 60
"""Frames in a row, in time, that lead a rung up."""

LONGEST_PATIENCE = 16 * CLEAN_TO_RETURN
"""Frames: how long a machine that fell back again and again must be in time before the next try."""


class Rung(IntEnum):
    """The ladder, from the top down; each rung includes those above it."""

    FULL = 0
    HALF_RESOLUTION = 1
    HALF_RATE = 2
    DEGRADED = 3
    """Late even so: nothing is left but to say it."""


class Escalation:
    """Goes down after `LATE_TO_ESCALATE` late frames, up after `CLEAN_TO_RETURN` clean ones.

    A return that fails soon doubles the patience before the next one, so that a machine that is
    just too slow does not swing for ever.

    Args:
        half_resolution: whether there is a network at half the resolution; else that rung is left
            out.
    """

    def __init__(self, half_resolution: bool) -> None:
        self._rungs = [rung for rung in Rung if half_resolution or rung != Rung.HALF_RESOLUTION]
        self._position = 0
        self._late = self._clean = 0
        self._patience = CLEAN_TO_RETURN
        self._since_return = LONGEST_PATIENCE
        self._left_out_next: set[str] = set()

    @property
    def rung(self) -> Rung:
        """Where we are."""
        return self._rungs[self._position]

    @property
    def above(self) -> Rung:
        """Where a return would lead."""
        return self._rungs[max(0, self._position - 1)]

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

    def finished(self, late: bool, at_floor: bool, fits_above: bool) -> Rung | None:
        """Take note of a frame that was computed or skipped.

        Args:
            late: it missed its deadline, on half rate the prolonged one, or was skipped.
            at_floor: it had the smallest budget.
            fits_above: the rung above is expected to be in time at its smallest budget.

        Returns:
            The new rung, or None if it stays.
        """
        self._since_return += 1
        self._late = self._late + 1 if late and at_floor else 0
        self._clean = 0 if late else self._clean + 1
        if self._late >= LATE_TO_ESCALATE and self.rung != self._rungs[-1]:
            return self._go_down()
        if self._clean >= self._patience and self._position > 0 and fits_above:
            return self._go_up()
        return None

    def _go_down(self) -> Rung:
        if self._since_return <= self._patience:
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._position += 1
        self._late = self._clean = 0
        return self.rung

    def _go_up(self) -> Rung:
        if self._since_return > 2 * self._patience:
            self._patience = max(self._patience // 2, CLEAN_TO_RETURN)
        self._position -= 1
        self._late = self._clean = self._since_return = 0
        return self.rung
