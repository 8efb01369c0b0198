"""Metres of relative inverse depth, which is called disparity here, and of relative depth."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

BEYOND = 4.0
"""Times the farthest depth: where disparity vanishes depth ends there, which is beyond the trusted
range even after the floor's smallest factor (`runtime.floor_scale.FACTOR_RANGE`)."""


@dataclass(frozen=True)
class ScaleAndShift:
    """Makes metres of disparity.

    Attributes:
        scale: 1/m for a disparity of 1, above 0.
        shift: 1/m, 0 or more: inverse depth where disparity is 0.
        farthest_m: depth that is to be trusted; there is no more than `BEYOND` times as much.
    """

    scale: float
    shift: float
    farthest_m: float

    def metres(self, disparity: Tensor) -> Tensor:
        """Depth in metres, of the same shape."""
        least = 1.0 / (BEYOND * self.farthest_m)
        return 1.0 / (self.scale * disparity + self.shift).clamp(min=least)

    def numbers(self) -> dict[str, float]:
        """For machines."""
        return {"scale": self.scale, "shift": self.shift}

    def __str__(self) -> str:
        return f"1 / ({self.scale:.4g} * disparity {self.shift:+.4g})"


@dataclass(frozen=True)
class Factor:
    """Makes metres of relative depth, which lacks nothing else.

    Attributes:
        factor: metres for a relative depth of 1, above 0.
        farthest_m: as above.
    """

    factor: float
    farthest_m: float

    def metres(self, depth: Tensor) -> Tensor:
        """Depth in metres, of the same shape."""
        return (self.factor * depth).clamp(max=BEYOND * self.farthest_m)

    def numbers(self) -> dict[str, float]:
        """For machines."""
        return {"factor": self.factor}

    def __str__(self) -> str:
        return f"{self.factor:.4g} * relative depth"
