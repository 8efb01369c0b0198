"""The latency table: how long each stage of a model takes for how many kept pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_KEEP = 1 << 24
"""Pixels: as many as the largest input of a model has."""
MAX_STAGE_SECONDS = 1000.0


@dataclass(frozen=True)
class StageLatency:
    """Measured durations of one stage.

    Attributes:
        name: of the stage.
        keep: kept pixels, strictly ascending, at most `MAX_KEEP`; (0,) for a stage without a gate.
        seconds: duration at each of `keep`, never falling, at most `MAX_STAGE_SECONDS`.

    Raises:
        ValueError: a value is outside what it may be.
    """

    name: str
    keep: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.keep or len(self.keep) != len(self.seconds):
            raise ValueError(f"{self.name}: keep and seconds must be of one length, 1 or more")
        if not all(0 <= pixels <= MAX_KEEP for pixels in self.keep):
            raise ValueError(f"{self.name}: keep must lie in 0..{MAX_KEEP}")
        if any(np.diff(self.keep) <= 0):
            raise ValueError(f"{self.name}: keep must ascend")
        if not all(0 <= value <= MAX_STAGE_SECONDS for value in self.seconds):  # nor NaN
            raise ValueError(f"{self.name}: seconds must lie in 0..{MAX_STAGE_SECONDS:g}")
        if any(np.diff(self.seconds) < 0):
            raise ValueError(f"{self.name}: seconds must not fall as keep rises")

    def at(self, keep: float) -> float:
        """Seconds for `keep` pixels, linear between the measured points, flat beyond them."""
        return float(np.interp(keep, self.keep, self.seconds))


@dataclass(frozen=True)
class LatencyTable:
    """Durations of all stages of a model: an "encoder", the gated blocks, the "heads"."""

    stages: tuple[StageLatency, ...]

    def stage_seconds(self, keep: Sequence[int]) -> tuple[float, ...]:
        """Duration of every stage.

        Args:
            keep: pixels of each gated block; the first and the last stage have no gate.
        """
        first, *gated, last = self.stages
        blocks = [stage.at(pixels) for stage, pixels in zip(gated, keep, strict=True)]
        return (first.at(0), *blocks, last.at(0))

    def total_seconds(self, keep: Sequence[int]) -> float:
        """Duration of a frame."""
        return sum(self.stage_seconds(keep))


def monotone_fit(values: Sequence[float]) -> NDArray[np.float64]:
    """The closest never-falling sequence in least squares (pool adjacent violators).

    Barlow et al., Statistical Inference under Order Restrictions, 1972.

    Args:
        values: measured durations in the order of their cause.
    """
    means: list[float] = []
    sizes: list[int] = []
    for value in values:
        means.append(float(value))
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            size = sizes[-2] + sizes[-1]
            pooled = (means[-2] * sizes[-2] + means[-1] * sizes[-1]) / size
            means[-2:], sizes[-2:] = [pooled], [size]
    return np.repeat(means, sizes)
