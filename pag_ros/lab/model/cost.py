"""Multiply-adds of a network with gated blocks, as they fall on one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pag_ros.lab.model.blocks import GatedBlock

_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class BlockCost:
    """One gated block.

    Attributes:
        name: of the module in its network.
        height, width: of its input.
        macs_per_pixel: multiply-adds of an active pixel.
    """

    name: str
    height: int
    width: int
    macs_per_pixel: int

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class NetworkCost:
    """Multiply-adds of one picture.

    Attributes:
        blocks: what depends on the density, in the order of the slots.
        dense: everything else, the gates included.
    """

    blocks: tuple[BlockCost, ...]
    dense: int

    def macs(self, density: float | Sequence[float] = 1.0) -> int:
        """Multiply-adds where every block, or each its own, computes that share of its pixels."""
        every = [density] * len(self.blocks) if isinstance(density, float | int) else density
        return self.dense + sum(
            round(share * block.pixels) * block.macs_per_pixel
            for share, block in zip(every, self.blocks, strict=True)
        )


def count_macs(
    network: nn.Module, run: Callable[[Any], Any], image: Any, blocks: Sequence[GatedBlock]
) -> NetworkCost:
    """Count convolutions and linear layers while `run(image)` computes every pixel.

    Args:
        network: in evaluation mode; holds the blocks.
        run: passes `image` [1,...], or whatever it takes, through it.
        blocks: the gated ones in the order of their slots.
    """
    sizes: dict[int, tuple[int, int]] = {}
    total = 0

    def on_layer(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.weight, Tensor)
        applied = args[0] if isinstance(layer, nn.ConvTranspose2d) else output
        places = applied.shape[2:].numel() if applied.dim() == 4 else applied.shape[:-1].numel()
        total += layer.weight.numel() * places

    def on_block(block: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> None:
        sizes[id(block)] = (args[0].shape[2], args[0].shape[3])

    inner = {id(module) for block in blocks for module in block.modules()}
    layers = [m for m in network.modules() if isinstance(m, _COUNTED) and id(m) not in inner]
    hooks = [layer.register_forward_hook(on_layer) for layer in layers]
    hooks += [block.register_forward_hook(on_block) for block in blocks]
    try:
        with torch.no_grad():
            run(image)
    finally:
        for hook in hooks:
            hook.remove()
    names = {id(module): name for name, module in network.named_modules()}
    costs = tuple(BlockCost(names[id(b)], *sizes[id(b)], b.macs_per_pixel()) for b in blocks)
    gates = sum(
        b.dense_macs_per_pixel() * cost.pixels + b.macs_per_image()
        for b, cost in zip(blocks, costs, strict=True)
    )
    return NetworkCost(costs, total + gates)
