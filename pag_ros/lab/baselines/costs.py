"""Multiply-adds of a network, by part, and what one pass of a gating really spent.

Multiply-adds of convolutions, as everywhere in this package; activations, additions of the residual
and the bilinear enlargements of the decoder are not counted, for no method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.cost import count_macs
from pag_ros.lab.model.gating import DenseGating

if TYPE_CHECKING:
    from pag_ros.lab.baselines.measured import MeasuredGating


@dataclass(frozen=True)
class NetworkCosts:
    """What a network costs at one input size.

    Attributes:
        dense: multiply-adds that every gating pays: all outside the gated blocks, and in them what
            runs at every pixel; gates excluded.
        pixels: of each gated block.
        macs_per_pixel: of each gated block, for a computed pixel.
        gate_per_pixel: of each gated block, for a pixel whose gate is evaluated.
    """

    dense: int
    pixels: tuple[int, ...]
    macs_per_pixel: tuple[int, ...]
    gate_per_pixel: tuple[int, ...]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Multiply-adds of each gated block with every pixel computed."""
        return tuple(p * m for p, m in zip(self.pixels, self.macs_per_pixel, strict=True))

    @property
    def gated(self) -> int:
        """Multiply-adds of all gated blocks with every pixel computed."""
        return sum(self.blocks)

    @property
    def gates(self) -> int:
        """Multiply-adds of all gates, each evaluated at every pixel."""
        return sum(p * m for p, m in zip(self.pixels, self.gate_per_pixel, strict=True))


@dataclass(frozen=True)
class Spending:
    """What one pass spent, multiply-adds image by image.

    Attributes:
        dense: what every gating pays, the same for each image.
        gates: [B] int64 for deciding what to compute.
        gated: [B] int64 for computed pixels of gated blocks.
        interpolation: [B] int64 for filling in skipped pixels.
    """

    dense: int
    gates: Tensor
    gated: Tensor
    interpolation: Tensor

    @property
    def total(self) -> Tensor:
        """[B] int64."""
        return self.dense + self.gates + self.gated + self.interpolation


def network_costs(network: PagNetwork, size: tuple[int, int]) -> NetworkCosts:
    """Count a network's multiply-adds.

    Args:
        network: in evaluation mode.
        size: (width, height) of the input in pixels.
    """
    device = next(network.parameters()).device
    image = torch.zeros(1, 3, size[1], size[0], device=device)
    cost = count_macs(network, lambda x: network(x, DenseGating()), image, network.gated)
    pixels = tuple(block.pixels for block in cost.blocks)
    gate = tuple(block.gate.weight.numel() for block in network.gated)
    return NetworkCosts(
        dense=cost.dense - sum(p * g for p, g in zip(pixels, gate, strict=True)),
        pixels=pixels,
        macs_per_pixel=tuple(block.macs_per_pixel for block in cost.blocks),
        gate_per_pixel=gate,
    )


def spending(gating: MeasuredGating, costs: NetworkCosts) -> Spending:
    """Count what the pass that `gating` served has spent, from its masks."""
    zero = torch.zeros(1, dtype=torch.int64)
    # In double: the sum of a bfloat16 mask would be rounded.
    computed = [m.detach().double().flatten(1).sum(1).round().long().cpu() for m in gating.masks]
    gated = sum((n * m for n, m in zip(computed, costs.macs_per_pixel, strict=True)), zero)
    batch = len(gated)
    return Spending(
        dense=costs.dense,
        gates=sum(gating.gate_macs, zero).expand(batch),
        gated=gated,
        interpolation=sum(gating.fill_macs, zero).expand(batch),
    )
