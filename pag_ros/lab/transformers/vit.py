"""A vision transformer whose blocks compute only the tokens that a gate keeps.

DINOv2's (Oquab et al., TMLR 2024): patches of 14 pixels, learned positions that are interpolated to
the picture's grid, a class token and perhaps registers, pre-norm blocks with layer scale. Modules
are named as in its published checkpoints.

Pixel-wise Attentional Gating (Kong & Fowlkes, WACV 2019) with tokens in place of pixels: every
token gives keys and values, the kept ones alone ask and go through the MLP, and each of the others
is changed as a kept one that it is like (see `likeness`). Class token and registers always stay. A
block with k of n tokens costs, beside the keys and values of all, k/n of its matrix products;
gather and scatter are all it needs besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.transformers.likeness import Kinship, kinship, kinship_macs, stand_ins

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

    def looks_for_kin(self, slot: int) -> bool:
        """Whether tokens are compared before that block: the first one, and one behind a tap."""
        return slot == 0 or slot - 1 in self.taps


def macs_per_token(config: VitConfig, tokens: int) -> int:
    """Multiply-adds of a token that a block computes: query, attention to all, projection, MLP."""
    return 10 * config.width**2 + 2 * tokens * config.width


def likeness_macs(config: VitConfig, grid: tuple[int, int]) -> int:
    """Multiply-adds of comparing tokens, in all blocks that do."""
    times = sum(config.looks_for_kin(slot) for slot in range(config.depth))
    return times * kinship_macs(config.width, grid)


class TokenGate(nn.Module):
    """The score of a token, of its channels and its novelty; untaught, the novelty alone counts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width + 1))
        self.bias = nn.Parameter(torch.empty(1))
        self.forget()

    def forget(self) -> None:
        """Make it untaught."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.weight.data[-1] = 1.0

    def forward(self, tokens: Tensor, novelty: Tensor) -> Tensor:
        """Tokens [B,P,C] and their novelty [B,P] -> [B,P]."""
        return tokens @ self.weight[:-1] + novelty * self.weight[-1] + self.bias


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
        self.gate = TokenGate(width)

    def forward(self, x: Tensor, kept: Tensor | None, parent: Tensor | None = None) -> Tensor:
        """Tokens [B,T,C] -> the same, changed.

        Args:
            kept: [B,k] tokens to compute, those before the patches first; None computes all.
            parent: [B,P] of the patches, see `Kinship`, by which those that are not computed find
                a change to take; None, or if there is none: they keep their value.
        """
        source = self.norm1(x)
        if kept is None:
            x = x + self.ls1(self.attn(source, source))
            whole: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
            return whole
        rows = _rows(kept, x.shape[1])
        before = _taken(x, rows)
        asking = self.ls1(self.attn(_taken(source, rows), source)) + before
        asking = asking + self.ls2(self.mlp(self.norm2(asking)))
        if parent is None:
            return x.flatten(0, 1).index_copy(0, rows, asking.flatten(0, 1)).view_as(x)
        return x + _passed_on(asking - before, rows, parent, x.shape[1])


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
        grid = image.shape[2] // PATCH, image.shape[3] // PATCH
        x = self.tokens(image)
        free = x.shape[1] - grid[0] * grid[1]
        features = []
        kin: Kinship | None = None
        for block in self.gated:
            if keep is None:
                x = block(x, None)
            else:
                kin = self.kin(block, x, grid, kin)
                score = block.gate(x[:, free:], kin.novelty)
                x = block(x, best_tokens(score, free, keep[block.slot]), kin.parent)
            if block.slot in self.config.taps:
                features.append(self.feature(x, grid))
        return features

    def kin(self, block: Block, x: Tensor, grid: tuple[int, int], last: Kinship | None) -> Kinship:
        """What each patch of the tokens [B,T,C] before a block is like.

        Tokens are compared as often as their features are taken, not in each block: that would find
        hardly anything else. Each time another sequence decides, lest the same ones be left out.

        Args:
            last: that of the block before.
        """
        if last is not None and not self.config.looks_for_kin(block.slot):
            return last
        return kinship(block.norm1(x[:, x.shape[1] - grid[0] * grid[1] :]), grid, block.slot)

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


def best_tokens(score: Tensor, free: int, count: int) -> Tensor:
    """[B,free+count] the tokens that a block computes; the first `free` always are.

    Args:
        score: [B,P] of the patches.
    """
    chosen = score.topk(count, dim=1, sorted=False).indices + free
    always = torch.arange(free, device=score.device).expand(len(score), -1)
    return torch.cat([always, chosen], 1)


def _passed_on(change: Tensor, rows: Tensor, parent: Tensor, tokens: int) -> Tensor:
    """[B,T,C] how every token changes, where those in `rows` [B*k] do so by `change` [B,k,C].

    Args:
        parent: [B,P] of the patches, the last of all tokens.
    """
    batch, patches = parent.shape
    changes = change.flatten(0, 1)
    # Of each token, which of the changes is its own; the first stands for none.
    number = torch.zeros(batch * tokens, dtype=torch.long, device=rows.device)
    number = number.index_copy(0, rows, torch.arange(1, rows.shape[0] + 1, device=rows.device))
    number = number.view(batch, tokens)
    always, own = number[:, : tokens - patches], number[:, tokens - patches :]
    taken = torch.cat([always, own.gather(1, stand_ins(own > 0, parent))], 1)
    changes = torch.cat([torch.zeros_like(changes[:1]), changes])
    return changes.index_select(0, taken.flatten()).view(batch, tokens, -1)


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
