"""Which token stands for which: one that is left out is changed as a token that it is like.

Joining tokens that are alike loses little (Bolya et al., "Token Merging: Your ViT But Faster", ICLR
2023), because all that are joined are changed as one. Here each token has a parent, the most alike
of its neighbours before it in a sequence that fills the picture evenly. The token that stands for
one that is left out is the nearest ancestor that is computed, so which tokens are computed can be
decided later, and anew in each block. Only neighbours are compared: that is no work beside a
block's, and what is alike lies close together.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

GENERATIONS = 4
"""How many parents up a token that is computed is looked for."""

_REACH = 2
"""Of a neighbour, in patches to each side."""
_GOLDEN = 0.6180339887498949
_EVEN = (0.7548776662466927, 0.5698402909980532)
"""Steps whose fractions fill the plane evenly (Roberts, "The unreasonable effectiveness of
quasirandom sequences", 2018)."""
_NEVER, _ITSELF = -4.0, -2.0
"""Added to cosines: no parent; the last resort."""
_LEAST = 1e-3
"""Of 1 - cosine: less is rounding where a runtime computes in half precision."""


class Kinship(NamedTuple):
    """Of each patch.

    Attributes:
        novelty: [B,P] log(1 - cosine to its parent), -6.9 to .7; those without any are the newest.
        parent: [B,P] int64, a patch; itself where it has none.
    """

    novelty: Tensor
    parent: Tensor


def kinship(patches: Tensor, grid: tuple[int, int], turn: int) -> Kinship:
    """Find the parents of patches.

    Args:
        patches: [B,P,C], row by row.
        grid: (height, width) in patches.
        turn: another number makes another sequence.
    """
    unit = F.normalize(patches, dim=2).view(len(patches), *grid, -1)
    # Whole rows times rows, of which the few next to each other are taken: two products of matrices
    # instead of two dozen shifted maps.
    rows = [
        (unit[:, below:] @ unit[:, : grid[0] - below].transpose(2, 3)).flatten(1)
        for below in range(min(_REACH + 1, grid[0]))
    ]
    entry, offset, bias = _neighbourhood(grid, turn)
    cosine = torch.cat(rows, 1).index_select(1, entry.flatten()).view(-1, *entry.shape) + bias
    likest, which = cosine.max(2)
    parent = torch.arange(patches.shape[1]) + offset[which]
    return Kinship((1.0 - likest).clamp(min=_LEAST).log(), parent)


def kinship_macs(width: int, grid: tuple[int, int]) -> int:
    """Multiply-adds of `kinship`, of patches with so many channels."""
    return sum((grid[0] - b) * grid[1] ** 2 * width for b in range(min(_REACH + 1, grid[0])))


def stand_ins(computed: Tensor, parent: Tensor) -> Tensor:
    """[B,P] the patch whose change each takes: the nearest of its line that is computed.

    Where `GENERATIONS` have none it is any that is not computed.

    Args:
        computed: [B,P] bool.
        parent: see `Kinship`.
    """
    patches = torch.arange(parent.shape[1])
    nearest = torch.where(computed, patches, parent)
    for _ in range(GENERATIONS.bit_length() - 1):  # each step goes twice as far as the last
        nearest = nearest.gather(1, nearest)
    return nearest


def even_sequence(grid: tuple[int, int], turn: int) -> Tensor:
    """[1,P] 0 to 1: any number of the highest lie evenly over the picture, others each turn."""
    rows, columns = torch.arange(grid[0])[:, None], torch.arange(grid[1])
    return ((rows * _EVEN[0] + columns * _EVEN[1] + turn * _GOLDEN) % 1.0).reshape(1, -1)


def _neighbourhood(grid: tuple[int, int], turn: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the products of rows, what `kinship` looks at.

    Returns:
        [P,M] where the cosine of each patch and its m-th neighbour is, [M] what has to be added to
        a patch's number for that neighbour's, and [P,M] what is added to the cosine.
    """
    height, width = grid
    steps = torch.arange(-_REACH, _REACH + 1)
    down, right = (s.flatten() for s in torch.meshgrid(steps, steps, indexing="ij"))
    row, column = (
        s.flatten()[:, None]
        for s in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    to_row, to_column = row + down, column + right
    inside = (to_row >= 0) & (to_row < height) & (to_column >= 0) & (to_column < width)
    to_row, to_column = torch.where(inside, to_row, row), torch.where(inside, to_column, column)
    lower = torch.maximum(row, to_row)
    own, other = (
        torch.where(row >= to_row, column, to_column),
        torch.where(row >= to_row, to_column, column),
    )
    below = (row - to_row).abs()
    # The products of rows that are n apart begin behind those of rows that are less: h, h - 1, ...
    begin = (below * height - below * (below - 1) // 2) * width**2
    entry = begin + ((lower - below) * width + own) * width + other
    place = even_sequence(grid, turn)[0]
    earlier = inside & (place[to_row * width + to_column] > place[:, None])
    is_itself = torch.arange(len(steps) ** 2) == len(steps) ** 2 // 2
    bias = torch.where(is_itself, _ITSELF, torch.where(earlier, 0.0, _NEVER))
    return entry, down * width + right, bias
