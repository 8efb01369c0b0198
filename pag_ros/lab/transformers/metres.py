"""Metres of relative inverse depth, which is called disparity here."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

_BEYOND = 4.0
"""Times the farthest depth: where disparity vanishes depth ends there, which is beyond the trusted
range even after the floor's smallest factor (`runtime.floor_scale.FACTOR_RANGE`)."""


@dataclass(frozen=True)
class ScaleAndShift:
    """Makes metres of disparity.

    Attributes:
        scale: 1/m for a disparity of 1, above 0.
        shift: 1/m, 0 or more: inverse depth where disparity is 0.
        farthest_m: depth that is to be trusted; there is no more than `_BEYOND` times as much.
    """

    scale: float
    shift: float
    farthest_m: float

    def metres(self, disparity: Tensor) -> Tensor:
        """Depth in metres, of the same shape."""
        least = 1.0 / (_BEYOND * self.farthest_m)
        return 1.0 / (self.scale * disparity + self.shift).clamp(min=least)
