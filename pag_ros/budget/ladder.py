"""A remedy in steps: one further down after some failures in a row, one back up after patience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

FAILURES_TO_STEP_DOWN = 3
"""Frames in a row that lead a rung down."""

_MAX_PATIENCE = 16
"""Times the usual: how long what failed again and again must do well before the next try."""

Step = TypeVar("Step")


class Ladder(Generic[Step]):
    """Where we stand on the rungs of a remedy.

    A return that fails soon doubles the patience before the next one, so that what is just too slow
    does not swing for ever.

    Args:
        rungs: from the top, where nothing is done, down.
        clean_to_return: frames in a row, in time, that usually lead a rung up; or seconds of them,
            or whatever `worth` counts.
    """

    def __init__(self, rungs: Sequence[Step], clean_to_return: float) -> None:
        self._rungs = list(rungs)
        self._position = self._failed = 0
        self._clean = 0.0
        self._patience = self._min_patience = clean_to_return
        self._max_patience = self._since_return = _MAX_PATIENCE * clean_to_return

    @property
    def rung(self) -> Step:
        """Where we are."""
        return self._rungs[self._position]

    @property
    def above(self) -> Step:
        """Where a return would lead."""
        return self._rungs[max(0, self._position - 1)]

    def finished(
        self, failed: bool, clean: bool, may_return: bool = True, worth: float = 1.0
    ) -> Step | None:
        """Take note of a frame.

        Args:
            failed: it was late in spite of all that the present rung does.
            clean: it was in time; a frame may be neither.
            may_return: the rung above is expected to do.
            worth: what it adds to the wait for a return.

        Returns:
            The new rung, or None if it stays.
        """
        self._since_return += worth
        self._failed = self._failed + 1 if failed else 0
        self._clean = self._clean + worth if clean else 0.0
        if self._failed >= FAILURES_TO_STEP_DOWN and self._position < len(self._rungs) - 1:
            return self._step_down()
        if self._clean >= self._patience and self._position > 0 and may_return:
            return self._step_up()
        return None

    def _step_down(self) -> Step:
        if self._since_return <= self._patience:
            self._patience = min(2 * self._patience, self._max_patience)
        self._position += 1
        self._failed, self._clean = 0, 0.0
        return self.rung

    def _step_up(self) -> Step:
        if self._since_return > 2 * self._patience:
            self._patience = max(self._patience / 2, self._min_patience)
        self._position -= 1
        self._failed, self._clean, self._since_return = 0, 0.0, 0.0
        return self.rung
