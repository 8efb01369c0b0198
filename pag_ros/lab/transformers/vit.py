"""A vision transformer whose blocks compute only the tokens that a gate keeps.

DINOv2's (Oquab et al., TMLR 2024): patches of 14 pixels, learned positions that are interpolated to
the picture's grid, a class token and perhaps registers, pre-norm blocks with layer scale. Modules
are named as in its published checkpoints.

Pixel-wise Attentional Gating (Kong & Fowlkes, WACV 2019) with tokens in place of pixels: every
token gives keys and values, the kept ones alone ask and go through the MLP, the others keep their
value. Class token and registers always stay. A block with k of n tokens costs, beside the keys and
values of all, k/n of its matrix products; gather and scatter are all it needs besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

PATCH = 14
_EPSILON = 1e-6


@dataclass(frozen=True)
class VitConfig:
    """A trunk.

    Attributes:
        width: channels of a token.
        depth: blocks.
        heads: of attention.
        taps: blocks behind which features are taken, in rising order.
        registers: tokens without a place in the picture, beside the class token.
        grid: side of the square grid that the positions were learned on.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    registers: int = 0
    grid: int = 37


def macs_per_token(config: VitConfig, tokens: int) -> int:
    """Multiply-adds of a token that a block computes: query, attention to all, projection, MLP."""
    return 10 * config.width**2 + 2 * tokens * config.width


class Block(nn.Module):
    """A gated transformer block. slot: its number among the trunk's."""

    def __init__(self, config: VitConfig, slot: int) -> None:
        super().__init__()
        width = config.width
        self.slot = slot
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = _Attention(width, config.heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width)
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """Tokens [B,T,C] -> the same, of which those of `kept` [B,k] alone have changed.

        None keeps all.
        """
        source = self.norm1(x)
        if kept is None:
            x = x + self.ls1(self.attn(source, source))
            whole: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
            return whole
        rows = _rows(kept, x.shape[1])
        asking = self.ls1(self.attn(_taken(source, rows), source)) + _taken(x, rows)
        asking = asking + self.ls2(self.mlp(self.norm2(asking)))
        return x.flatten(0, 1).index_copy(0, rows, asking.flatten(0, 1)).view_as(x)


class Vit(nn.Module):
    """The trunk: a picture to features of some of its blocks."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.patch_embed = _PatchEmbed(config.width)
        self.gated = tuple(Block(config, slot) for slot in range(config.depth))
        self.blocks = nn.ModuleList(self.gated)
        self.norm = nn.LayerNorm(config.width, eps=_EPSILON)

    def forward(self, image: Tensor, keep: Sequence[int] | None = None) -> list[Tensor]:
        """Features behind the blocks of `taps`.

        Args:
            image: [B,3,H,W], normalised, sides whole multiples of `PATCH`.
            keep: of each block, how many patches it computes, 1 to all; None computes all.

        Returns:
            [B,C,h,w] each, h and w the sides in patches.
        """
        height, width = image.shape[2] // PATCH, image.shape[3] // PATCH
        x = self.tokens(image)
        free = x.shape[1] - height * width
        features = []
        for block in self.gated:
            kept = None if keep is None else kept_tokens(block, x, free, keep[block.slot])
            x = block(x, kept)
            if block.slot in self.config.taps:
                features.append(self.feature(x, (height, width)))
        return features

    def feature(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens [B,T,C] behind a block of `taps` -> [B,C,h,w] on a grid of patches."""
        patches = self.norm(x)[:, x.shape[1] - grid[0] * grid[1] :]
        feature: Tensor = patches.transpose(1, 2).reshape(len(x), -1, *grid)
        return feature

    def tokens(self, image: Tensor) -> Tensor:
        """[B,T,C]: the class token, registers, patches row by row."""
        grid = image.shape[2] // PATCH, image.shape[3] // PATCH
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)
        batch = len(patches)
        first = self.cls_token.expand(batch, -1, -1)
        x = torch.cat([first, patches], 1) + self._positions(grid)
        if not self.config.registers:
            return x
        registers = self.register_tokens.expand(batch, -1, -1)
        return torch.cat([x[:, :1], registers, x[:, 1:]], 1)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        side = self.config.grid
        if grid == (side, side):
            return self.pos_embed
        learned = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        moved = F.interpolate(learned, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], moved.flatten(2).transpose(1, 2)], 1)


def kept_tokens(block: Block, x: Tensor, free: int, count: int) -> Tensor:
    """[B,free+count] indices of the tokens that a block computes; the first `free` always are."""
    score = block.gate(x[:, free:])[..., 0]
    chosen = score.topk(count, dim=1, sorted=False).indices + free
    always = torch.arange(free, device=x.device).expand(len(x), -1)
    return torch.cat([always, chosen], 1)


def _rows(kept: Tensor, tokens: int) -> Tensor:
    """[B*k] rows of all pictures' tokens below each other: runtimes move whole rows at once."""
    first = torch.arange(len(kept), device=kept.device) * tokens
    return (kept + first[:, None]).flatten()


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    """Those rows of tokens [B,T,C] -> [B,k,C]."""
    return x.flatten(0, 1).index_select(0, rows).view(len(x), -1, x.shape[2])


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, asking: Tensor, source: Tensor) -> Tensor:
        """Tokens [B,k,C] that ask, tokens [B,T,C] that answer -> [B,k,C]."""
        width = source.shape[2]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = self._by_head(F.linear(asking, weight[:width], bias[:width]))
        # Slices, not `chunk`: a Split of constants would be left in the exported graph.
        key, value = (
            self._by_head(F.linear(source, weight[at : at + width], bias[at : at + width]))
            for at in (width, 2 * width)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return result

    def _by_head(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.heads, width // self.heads).transpose(1, 2)


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return result


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.proj(image)
        return result
