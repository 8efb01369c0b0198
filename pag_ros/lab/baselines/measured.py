"""Gatings that keep book: which pixels they computed and what deciding so cost.

FullGating    every pixel, no gate: the plain network, truncated or at a smaller input
PixelGating   ours: the exact number of pixels with the highest learned scores
FilledPixelGating  the same, skipped pixels filled from their neighbours
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from pag_ros.lab.baselines.filling import fill_macs, interpolated, nearest_computed
from pag_ros.lab.model.blocks import GatedBlock
from pag_ros.lab.model.gating import TopKGating


class MeasuredGating(abc.ABC):
    """A `Gating` for one pass over a batch that records what the pass takes.

    Attributes:
        masks: of each block in the order in which they ran, [B,1,H,W], 0 or 1 in value.
        gate_macs: [B] int64 multiply-adds for deciding, one or more tensors.
        fill_macs: [B] int64 multiply-adds for filling in skipped pixels, one or more tensors.
    """

    def __init__(self) -> None:
        self.masks: list[Tensor] = []
        self.gate_macs: list[Tensor] = []
        self.fill_macs: list[Tensor] = []

    def run(self, block: GatedBlock, x: Tensor) -> Tensor:
        """Run `block` on x [B,C,H,W]."""
        mask = self.mask(block, x)
        self.masks.append(mask)
        return self.apply(block, x, mask)

    @abc.abstractmethod
    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        """Which pixels to compute: [B,1,H,W], 0 or 1 in value; gradients may be soft."""

    def apply(self, block: GatedBlock, x: Tensor, mask: Tensor) -> Tensor:
        """The block's output under a mask: x [B,C,H,W] -> [B,N,H,W]."""
        return block.masked(x, mask)

    def _spend_on_gates(self, macs: Tensor | int, batch: int) -> None:
        """Note multiply-adds per image: [B], or the same for every one."""
        self.gate_macs.append(torch.as_tensor(macs, dtype=torch.int64).cpu().expand(batch))


class FullGating(MeasuredGating):
    """Every pixel of every block; no gate is evaluated."""

    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, :1])


class PixelGating(MeasuredGating):
    """Pixel-wise attentional gating with exact counts, see `TopKGating`.

    Args:
        density: [B,L] or [L] share of the pixels each block computes, 0 to 1.
        noise: scale of logistic noise on the scores while training; 0 = deterministic.
    """

    def __init__(self, density: Tensor, noise: float = 0.0) -> None:
        super().__init__()
        self._top = TopKGating(density, noise)

    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        pixels = x.shape[2] * x.shape[3]
        self._spend_on_gates(block.gate.weight.numel() * pixels, len(x))
        return self._top.mask(block.gate(x), block.slot)


class FilledPixelGating(PixelGating):
    """`PixelGating` whose skipped pixels copy the nearest computed one, see `filling`."""

    def apply(self, block: GatedBlock, x: Tensor, mask: Tensor) -> Tensor:
        """See `MeasuredGating.apply`.

        Raises:
            ModelError: the block is not a basic block.
        """
        nearest = torch.stack([nearest_computed(one[0] > 0.5) for one in mask.detach().cpu()])
        self.fill_macs.append(fill_macs(block, mask))
        return interpolated(block, x, mask, nearest.to(x.device))


def top_share(worth: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest entries, ties to the lower index.

    Args:
        worth: [n].
        count: 0 to n.

    Returns:
        chosen [n], 0 or 1 in the dtype of `worth`; the smallest chosen value, a scalar (the largest
        of all where none is chosen).
    """
    order = worth.argsort(descending=True, stable=True)
    chosen = torch.zeros_like(worth)
    chosen[order[:count]] = 1.0
    return chosen, worth[order[max(count - 1, 0)]]


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return hard + (soft - soft.detach())
