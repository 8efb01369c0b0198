"""Perforation: skip pixels by a pattern that is fixed before any image is seen.

Figurnov et al., "PerforatedCNNs: Acceleration through Elimination of Redundant Convolutions",
NIPS 2016: a uniform random pattern, or a grid, the product of some rows and some columns. Skipped
outputs of a convolution are zero, or copies of the nearest computed pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pag_ros.lab.baselines.filling import fill_macs, interpolated, nearest_computed
from pag_ros.lab.baselines.measured import MeasuredGating
from pag_ros.lab.model.blocks import GatedBlock

PatternKind = Literal["random", "grid"]

_GRID_TOLERANCE = 0.01
"""A grid may miss its share by so much of the pixels in order to be of even pitch both ways."""

_GOLDEN = 0.6180339887498949
"""Shifts the grid from block to block so that no two of many blocks have the same one."""


@dataclass
class Patterns:
    """The patterns of all blocks, drawn when first needed and kept.

    Attributes:
        kind: "random" or "grid".
        share: of the pixels to compute, 0 to 1.
        seed: of the random patterns.
    """

    kind: PatternKind
    share: float
    seed: int
    _drawn: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def of(self, slot: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The pattern of a block: mask [H,W] bool, and `nearest_computed` of it."""
        key = (slot, height, width)
        if key not in self._drawn:
            mask = self._draw(*key)
            self._drawn[key] = mask, nearest_computed(mask)
        return self._drawn[key]

    def _draw(self, slot: int, height: int, width: int) -> Tensor:
        if self.kind == "grid":
            return grid_pattern(height, width, self.share, phase=(slot * _GOLDEN) % 1.0)
        generator = torch.Generator().manual_seed(1000 * self.seed + slot)
        return random_pattern(height, width, self.share, generator)


class PerforatedGating(MeasuredGating):
    """Computes the pixels of a fixed pattern; no gate is evaluated.

    Args:
        patterns: shared by all passes.
        interpolate: fill skipped outputs of both convolutions from the nearest computed pixel.
    """

    def __init__(self, patterns: Patterns, interpolate: bool) -> None:
        super().__init__()
        self._patterns = patterns
        self._interpolate = interpolate

    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        mask, _ = self._patterns.of(block.slot, *x.shape[2:])
        return mask.to(x).expand(len(x), 1, -1, -1)

    def apply(self, block: GatedBlock, x: Tensor, mask: Tensor) -> Tensor:
        """See `MeasuredGating.apply`.

        Raises:
            ModelError: interpolation in a block that is not a basic block.
        """
        if not self._interpolate:
            return block.masked(x, mask)
        _, nearest = self._patterns.of(block.slot, *x.shape[2:])
        self.fill_macs.append(fill_macs(block, mask))
        return interpolated(block, x, mask, nearest.to(x.device).expand(len(x), -1))


def random_pattern(height: int, width: int, share: float, generator: torch.Generator) -> Tensor:
    """Exactly round(share * H * W) pixels, uniformly drawn: [H,W] bool."""
    pixels = height * width
    mask = torch.zeros(pixels, dtype=torch.bool)
    mask[torch.randperm(pixels, generator=generator)[: round(share * pixels)]] = True
    return mask.view(height, width)


def grid_pattern(height: int, width: int, share: float, phase: float = 0.0) -> Tensor:
    """The product of evenly spaced rows and columns: [H,W] bool.

    Of all counts of rows and columns that hold the share within a hundredth of the pixels, the one
    with the most alike pitch both ways; else that nearest to the share.

    Args:
        share: of the pixels to compute, 0 to 1.
        phase: shift of the grid in pitches, 0 to 1.
    """
    wanted = share * height * width

    def worse(counts: tuple[int, int]) -> tuple[float, float]:
        rows, columns = counts
        miss = abs(rows * columns - wanted) / (height * width)
        uneven = abs(math.log(rows * width / (columns * height)))
        return (0.0 if miss <= _GRID_TOLERANCE else miss, uneven)

    rows, columns = min(
        ((r, c) for r in range(1, height + 1) for c in range(1, width + 1)), key=worse
    )
    return _spread(rows, height, phase)[:, None] & _spread(columns, width, phase)[None, :]


def _spread(count: int, length: int, phase: float) -> Tensor:
    """`count` of `length` places, neighbours (the ends joined) floor or ceil of the pitch apart."""
    places = [math.floor((i + phase) * length / count) % length for i in range(count)]
    chosen = torch.zeros(length, dtype=torch.bool)
    chosen[places] = True
    return chosen
