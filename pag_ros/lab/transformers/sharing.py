"""How a budget is shared between the blocks: evenly, or more to the first or the last ones.

One number tells: the tilt. A block's share of its patches is b + tilt min(b, 1 - b) p at budget b,
with p from -1 for the first block to 1 for the last. So the mean is b, no share leaves 0 to 1, and
a larger budget never takes a token from a block. That is linear from 0 to .5 and from there to 1,
so two rows of a manifest hold it for every budget.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 0.9
"""Of a tilt, to both sides: each block is left a tenth of the budget."""


def shared(budget: Tensor, tilt: Tensor, blocks: int) -> Tensor:
    """[...,L] share of its patches that each block computes.

    Args:
        budget, tilt: [...,1] or scalars, 0 to 1 and -`MOST` to `MOST`.
    """
    place = torch.linspace(-1.0, 1.0, blocks)
    return budget + tilt * torch.minimum(budget, 1.0 - budget) * place


def counts(budget: float, tilt: float, blocks: int, patches: int) -> list[int]:
    """Patches that each block computes; their sum is the budget's within a patch a block."""
    shares = shared(torch.tensor(budget), torch.tensor(tilt), blocks)
    return [round(share * patches) for share in shares.tolist()]
