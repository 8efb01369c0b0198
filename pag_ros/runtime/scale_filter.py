"""The factor of a camera's depth over time: it follows what the floor says, and changes slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from pag_ros.runtime.floor_scale import FACTOR_RANGE, FloorSighting

SETTLING_S = 1.0
"""Time in which the factor takes over two thirds of a change that is seen with all confidence."""

BACKWARD_JUMP_S = 0.5
"""Stamps that go back by more begin another recording, or the same one anew."""


class ScaleSource(Enum):
    """Where the scale of a picture's depth comes from."""

    NETWORK = "network"
    """No floor has been seen."""
    FLOOR = "floor"
    """It is seen in this picture."""
    HELD = "held"
    """It was seen in pictures before."""


@dataclass(frozen=True)
class ScaleReport:
    """Which scale a picture's depth has.

    Attributes:
        source: of the factor.
        factor: that the network's depth was multiplied by.
        share: of the pixels, those that agreed on it when the floor was last seen, 0 to 1.
        spread: of their ratios (standard deviation of the logarithms).
        confidence: that it was believed with, 0 to 1.
        age_s: since the floor was last seen; None if it never was.
        refused: a factor that the floor in this picture asks for, and that is out of range; None
            if it does not.
    """

    source: ScaleSource = ScaleSource.NETWORK
    factor: float = 1.0
    share: float = 0.0
    spread: float = 0.0
    confidence: float = 0.0
    age_s: float | None = None
    refused: float | None = None

    def describe(self) -> str:
        """Describe it for people: "floor, x1.13, 42 % of pixels"."""
        text = self.source.value
        if self.source is ScaleSource.FLOOR:
            text += f", x{self.factor:.2f}, {self.share:.0%} of pixels"
        elif self.source is ScaleSource.HELD:
            text += f", x{self.factor:.2f}, floor seen {self.age_s:.1f} s ago"
        if self.refused is not None:
            low, high = FACTOR_RANGE
            text += f"; the floor asks for x{self.refused:.2f}, not within {low:g} to {high:g}"
        return text


@dataclass(frozen=True)
class _Known:
    """What the filter knows: the factor's logarithm, and the sighting that it last learned from."""

    log_factor: float
    sighting: FloorSighting
    sighted_s: float


class ScaleFilter:
    """Joins what the floor says in the pictures of one camera to one factor of its depth."""

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._time_s = -math.inf

    def follow(self, sighting: FloorSighting | None, time_s: float) -> ScaleReport:
        """Take note of a picture.

        Args:
            sighting: of the floor in it; None if there is none.
            time_s: when it was taken, on a clock of the camera's pictures.

        Returns:
            The scale that the picture's depth is to have.
        """
        if time_s < self._time_s - BACKWARD_JUMP_S:
            self._known = None
        self._time_s = time_s
        if sighting is None:
            return self._report(ScaleSource.HELD)
        if not sighting.is_plausible:
            return self._report(ScaleSource.HELD, refused=sighting.factor)
        self._known = _Known(self._followed(sighting, time_s), sighting, time_s)
        return self._report(ScaleSource.FLOOR)

    def _followed(self, sighting: FloorSighting, time_s: float) -> float:
        """The factor's new logarithm; the first sighting is all there is to know."""
        seen, known = math.log(sighting.factor), self._known
        if known is None:
            return seen
        # At most one settling time, so that after a pause one picture does not decide alone.
        elapsed_s = min(max(0.0, time_s - known.sighted_s), SETTLING_S)
        gain = 1.0 - math.exp(-sighting.confidence * elapsed_s / SETTLING_S)
        return known.log_factor + gain * (seen - known.log_factor)

    def _report(self, source: ScaleSource, refused: float | None = None) -> ScaleReport:
        if self._known is None:
            return ScaleReport(refused=refused)
        sighting = self._known.sighting
        return ScaleReport(
            source=source,
            factor=math.exp(self._known.log_factor),
            share=sighting.share,
            spread=sighting.spread,
            confidence=sighting.confidence,
            age_s=max(0.0, self._time_s - self._known.sighted_s),
            refused=refused,
        )
