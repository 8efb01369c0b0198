"""The latency table follows the machine: stages that have become slower than measured, or faster.

Only how a frame's time is spread over its stages is learned. How slow the whole machine is right
now is left to the controller's slowdown factor, so a busy machine does not get into the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget.latency import LatencyTable, StageLatency, monotone_fit

FRAMES_A_BATCH = 80
"""Frames are corrected for together: one by one the arithmetic would take fifty times as long."""

_GAIN_PER_FRAME = 0.005
"""A point takes some 200 frames to make up two thirds of an error."""
_LARGEST_SURPRISE = 0.5
"""A single stage that somebody else interrupts says little about the table."""

_LARGEST_LOG_FACTOR = math.log(2.0)
_REACH_PIXELS = 256.0
_SHORTEST_S = 20e-6
"""The duration of a shorter stage is mostly that of reading the clock."""
_LONGEST_FRAME_S = 10.0


class TableRefresh:
    """Corrects a latency table by what frames really took, a factor of 2 at most at every point.

    Args:
        table: as calibrated.
    """

    def __init__(self, table: LatencyTable) -> None:
        self._calibrated = table
        self._grids = [np.array(stage.keep, np.float64) for stage in table.stages]
        self._seconds = [np.array(stage.seconds) for stage in table.stages]
        self._log_factors = [np.zeros(len(stage.keep)) for stage in table.stages]
        # A surprise must reach a point on either side even where the grid is coarse.
        self._reaches = [max(_REACH_PIXELS, *np.diff(grid), 0.0) for grid in self._grids]
        self._frames: list[tuple[tuple[int, ...], tuple[float, ...]]] = []

    @property
    def table(self) -> LatencyTable:
        """The table as corrected so far; new every time, so ask for it once in a while only."""
        return LatencyTable(
            tuple(
                StageLatency(stage.name, stage.keep, tuple(monotone_fit(seconds.tolist()).tolist()))
                for stage, seconds in zip(self._calibrated.stages, self._seconds, strict=True)
            )
        )

    def observe(self, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> bool:
        """Learn from a finished frame; every `FRAMES_A_BATCH` frames the table changes.

        Args:
            keep_used: pixels that each gated block really computed.
            stage_seconds: measured duration of every stage; impossible ones teach nothing.

        Returns:
            Whether the table has changed.

        Raises:
            ValueError: another number of blocks or stages than the table has.
        """
        if (len(keep_used) + 2, len(stage_seconds)) != (len(self._grids),) * 2:
            raise ValueError(
                f"expected {len(self._grids) - 2} blocks and {len(self._grids)} stages, "
                f"got {len(keep_used)} and {len(stage_seconds)}"
            )
        possible = min(stage_seconds) >= 0.0 and 0.0 < sum(stage_seconds) < _LONGEST_FRAME_S
        if possible and min(keep_used, default=0) >= 0:
            self._frames.append(((0, *keep_used, 0), tuple(stage_seconds)))
        if len(self._frames) < FRAMES_A_BATCH:
            return False
        self._learn()
        self._frames.clear()
        return True

    def _learn(self) -> None:
        keeps = np.array([keep for keep, _ in self._frames], np.float64).T  # [stage, frame]
        measured = np.array([seconds for _, seconds in self._frames]).T
        surprises = self._surprises(keeps, measured)
        for stage, (grid, reach) in enumerate(zip(self._grids, self._reaches, strict=True)):
            # [point, frame]; beyond its ends the table is flat, so the end point is meant.
            keep = np.clip(keeps[stage], grid[0], grid[-1])
            nearness = 1.0 - np.abs(grid[:, None] - keep) / reach
            change = np.maximum(nearness, 0.0) @ surprises[stage]
            factors = self._log_factors[stage] + _GAIN_PER_FRAME * change
            factors = np.clip(factors, -_LARGEST_LOG_FACTOR, _LARGEST_LOG_FACTOR)
            self._log_factors[stage] = factors
            self._seconds[stage] = np.exp(factors) * self._calibrated.stages[stage].seconds

    def _surprises(
        self, keeps: NDArray[np.float64], measured: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How much slower each stage was than the frame as a whole, relative [stage, frame]."""
        rows = zip(keeps, self._grids, self._seconds, strict=True)
        expected = np.array([np.interp(keep, grid, seconds) for keep, grid, seconds in rows])
        counts = expected >= _SHORTEST_S
        total = np.maximum((expected * counts).sum(axis=0), _SHORTEST_S)
        common = np.maximum((measured * counts).sum(axis=0) / total, 1e-9)
        surprises = measured / np.maximum(expected, _SHORTEST_S) / common - 1.0
        surprises = np.clip(surprises, -_LARGEST_SURPRISE, _LARGEST_SURPRISE) * counts
        return _without_drift(surprises, expected * counts) * counts


def _without_drift(
    surprises: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shifted such that the table's total stays: what one stage gains, the others lose.

    Nothing else would hold the total, for nobody can tell a slow table from a fast machine.

    Args:
        surprises: [stage, frame].
        weights: expected seconds [stage, frame].
    """
    seconds = weights.sum(axis=1)
    growth = np.exp(_GAIN_PER_FRAME * surprises.sum(axis=1))
    drift = math.log((seconds @ growth) / seconds.sum()) if seconds.any() else 0.0
    shifted: NDArray[np.float64] = surprises - drift / (_GAIN_PER_FRAME * surprises.shape[1])
    return shifted
