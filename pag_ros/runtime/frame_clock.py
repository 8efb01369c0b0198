"""The clock of one running frame: when each stage began, and how far late blocks must trim."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget.trimming import NEVER_TRIMMED, block_limits, trimmed_keep
from pag_ros.runtime.session import Deadline

THRESHOLD = 2
"""Where a row of limits has the score below which a pixel is left out."""


class FrameClock:
    """Collects time stamps while a frame runs; the operators call it, the session reads it.

    Args:
        blocks: names of the gated blocks in execution order.
    """

    def __init__(self, blocks: Sequence[str]) -> None:
        self.blocks = {name: position for position, name in enumerate(blocks)}
        self._began = 0.0
        self._selected = [math.nan] * len(blocks)
        self._gated_end = 0.0

    def start(self) -> None:
        """The frame begins now."""
        self._began = self._gated_end = time.perf_counter()
        self._selected = [math.nan] * len(self._selected)

    def begin_block(self, name: str, keep: int, limits: NDArray[np.float32]) -> int:
        """A block begins now: the pixels it may still compute if the frame is late.

        Args:
            keep: pixels it was planned to compute.
            limits: (start, rest, ...) in seconds: by when after the frame's start it had to begin,
                and how much gated work from here on trimming can shorten.
        """
        now = self._selected[self.blocks[name]] = time.perf_counter()
        return trimmed_keep(keep, now - self._began - float(limits[0]), float(limits[1]))

    def elapsed(self) -> float:
        """Seconds since the frame began."""
        return time.perf_counter() - self._began

    def record(self, names: Sequence[str], began: Sequence[float], ended: float) -> None:
        """Blocks have run that told the time themselves, in seconds after the frame's start."""
        for name, seconds in zip(names, began, strict=True):
            self._selected[self.blocks[name]] = self._began + seconds
        self._gated_end = self._began + ended

    def end_gated(self) -> None:
        """Some gated work ended now; the last call in a frame is where the heads begin."""
        self._gated_end = time.perf_counter()

    def stage_seconds(self) -> tuple[float, ...]:
        """Durations of "encoder", every block and "heads", for a frame that ends now."""
        marks = [self._began, *self._selected, self._gated_end, time.perf_counter()]
        return tuple(after - before for before, after in pairwise(marks))


def limit_rows(
    deadline: Deadline | None,
    began: float,
    blocks: int,
    thresholds: Sequence[float] | None = None,
) -> NDArray[np.float32]:
    """One row (start, rest, threshold) per gated block, for the model's input `plan`.

    Args:
        deadline: for the frame, or None for no trimming.
        began: `time.perf_counter()` at the frame's start.
        blocks: number of gated blocks L.
        thresholds: scores that a pixel must exceed to be computed; None computes any.

    Returns:
        [L,3] float32; start and rest in seconds, see `FrameClock.begin_block`.
    """
    rows = np.empty((blocks, 3), np.float32)
    rows[:, :THRESHOLD] = (
        NEVER_TRIMMED
        if deadline is None
        else block_limits(deadline.at - began, deadline.planned_seconds)
    )
    rows[:, THRESHOLD] = -math.inf if thresholds is None else thresholds
    return rows
