"""Pixels that halt: each stops once what it has gathered says so, and never resumes.

After Figurnov et al., "Spatially Adaptive Computation Time for Residual Networks", CVPR 2017. As
there, every block adds to a pixel's halting score and a pixel beyond the threshold is done. Unlike
there, the threshold is not fixed at 1 - epsilon with a penalty on the ponder cost: before each
block it is put where the number of pixels still running in the batch is exact, so that the budget
holds; and the output is a pixel's last state instead of a mean of its states weighted by halting
probabilities, as the decoder of the starting network expects it. Pixels of one image can run longer
than those of another in the batch, which a frame that comes alone cannot; this favours the method.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pag_ros.errors import ModelError
from pag_ros.lab.baselines.measured import MeasuredGating, straight_through, top_share
from pag_ros.lab.model.blocks import GatedBlock
from pag_ros.lab.model.gating import logistic_noise

_TEMPERATURE = 0.25
"""Temperature of the soft step that carries the gradient; scores grow by at most one a block."""


class HaltingGating(MeasuredGating):
    """Block by block, exactly round(share * B * H * W) of the pixels that still run go on.

    Args:
        shares: of each block, falling, see `running_shares`.
        noise: scale of logistic noise on the gates' scores while training; 0 = deterministic.
    """

    def __init__(self, shares: Sequence[float], noise: float = 0.0) -> None:
        super().__init__()
        self._shares = shares
        self._noise = noise
        self._halting = torch.zeros(())
        self._running = torch.ones(())

    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        """See `MeasuredGating.mask`.

        Raises:
            ModelError: the blocks are of several sizes.
        """
        score = block.gate(x).float()
        if not self.masks:
            self._halting, self._running = torch.zeros_like(score), torch.ones_like(score)
        elif score.shape != self._running.shape:
            raise ModelError("halting needs gated blocks of one size (lite0, lite2)")
        # A pixel that has halted no longer evaluates gates.
        seen = self._running.flatten(1).sum(1).round().long()
        self._spend_on_gates(block.gate.weight.numel() * seen, len(x))
        if self._noise > 0:
            score = score + self._noise * logistic_noise(score)
        self._halting = self._halting + torch.sigmoid(-score)
        worth = (-self._halting).masked_fill(self._running < 0.5, -torch.inf)
        count = round(self._shares[block.slot] * worth.numel())
        hard, last = top_share(worth.flatten().detach(), count)
        hard = hard.view_as(worth)
        soft = torch.sigmoid((-self._halting - last) / _TEMPERATURE) * self._running
        self._running = hard
        return straight_through(hard, soft).to(x.dtype)


def running_shares(costs: Sequence[int], budget: float) -> tuple[float, ...]:
    """The share of pixels that run in each block when an equal part halts before every block.

    They fall geometrically from that of the first block, 1 where the budget allows, and their mean
    weighted by `costs` is the budget.

    Args:
        costs: multiply-adds of each block with every pixel computed.
        budget: 0 to 1.
    """

    def spent(rate: float) -> float:
        return sum(cost * rate**depth for depth, cost in enumerate(costs)) / sum(costs)

    first = min(1.0, budget / spent(0.0)) if costs else 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if first * spent(middle) < budget else (low, middle)
    return tuple(first * high**depth for depth in range(len(costs)))
