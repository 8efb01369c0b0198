"""A vision transformer whose blocks compute only the tokens that a gate keeps.

DINOv2's (Oquab et al., TMLR 2024): patches of 14 pixels, learned positions that are interpolated to
the picture's grid, a class token and perhaps registers, pre-norm blocks with layer scale. Modules
are named as in its published checkpoints.

Pixel-wise Attentional Gating (Kong & Fowlkes, WACV 2019) with tokens in place of pixels: every
token gives keys and values, the kept ones alone ask and go through the MLP, and each of the others
is changed as a kept one that it is like (see `likeness`). Class token and registers always stay. A
block with k of n tokens costs, beside the keys and values of all, k/n of its matrix products;
gather and scatter are all it needs besides.

The trunk of Depth Anything 3 (Lin et al., 2025) is the same up to a block from which on it was made
to look at several pictures in turns: see `VitConfig.alternating`. Here it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.transformers.likeness import Kinship, kinship, kinship_macs, stand_ins

PATCH = 14
_EPSILON = 1e-6
_TURNING = 100.0
"""Channels turn by 1 radian a patch, the slowest by little more than 1 / `_TURNING`."""


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
        offset: patches by which another grid counts as larger where positions are interpolated.
        epsilon: of the normalisation behind the taps.
        alternating: the block before which the class token becomes the camera's. From it on queries
            and keys are normalised and turned by their places; odd blocks, which see all pictures,
            give all patches one place; behind the taps is, beside each token, what the last even
            block made of it. None: no block does.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    registers: int = 0
    grid: int = 37
    offset: float = 0.0
    epsilon: float = _EPSILON
    alternating: int | None = None

    @property
    def free(self) -> int:
        """Tokens before the patches, which are always computed."""
        return 1 + self.registers

    def turns_at(self, slot: int) -> bool:
        """Whether that block turns queries and keys by their places."""
        return self.alternating is not None and slot >= self.alternating

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


class Turns(NamedTuple):
    """How far channels of queries and keys are turned, in pairs, so that places show in products.

    Rotary positions (Su et al., "RoFormer", 2021) for rows and columns, each in half of a head's
    channels, which pair up as the first quarter of a head with the second, the third with the last.

    Attributes:
        cosine, sine: [...,T,2,D/4] of a head's D channels.
    """

    cosine: Tensor
    sine: Tensor

    def of(self, tokens: Tensor) -> Turns:
        """Those of the tokens [B,k] -> [B,1,k,2,D/4]."""
        rows = (table.index_select(0, tokens.flatten()) for table in self)
        return Turns(*(each.view(len(tokens), 1, -1, *each.shape[1:]) for each in rows))

    def apply(self, channels: Tensor) -> Tensor:
        """Queries or keys [B,heads,T,D] -> the same, turned."""
        pairs = channels.view(*channels.shape[:3], 2, 2, -1)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        cosine, sine = self.cosine.to(channels), self.sine.to(channels)
        turned = [first * cosine - second * sine, second * cosine + first * sine]
        return torch.stack(turned, 4).flatten(3)


def turns_in(config: VitConfig, slot: int, grid: tuple[int, int]) -> Turns | None:
    """Those of all tokens in a block, cosine and sine [T,2,D/4]; None: it turns nothing.

    Patches are at (row + 1, column + 1), in a block for all pictures at (1, 1); what comes before
    them is at (0, 0).
    """
    if not config.turns_at(slot):
        return None
    rows, columns = torch.arange(grid[0]) + 1, torch.arange(grid[1]) + 1
    places = torch.cartesian_prod(rows, columns).float()
    if slot % 2:
        places = torch.ones_like(places)
    quarter = config.width // config.heads // 4
    speed = _TURNING ** -(torch.arange(quarter) / quarter)
    angle = F.pad(places, (0, 0, config.free, 0))[..., None] * speed
    return Turns(angle.cos(), angle.sin())


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
        self.attn = _Attention(width, config.heads, config.turns_at(slot))
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = _Mlp(width)
        self.ls2 = _LayerScale(width)
        self.gate = TokenGate(width)

    def forward(
        self,
        x: Tensor,
        kept: Tensor | None,
        parent: Tensor | None = None,
        turns: Turns | None = None,
    ) -> Tensor:
        """Tokens [B,T,C] -> the same, changed.

        Args:
            kept: [B,k] tokens to compute, those before the patches first; None computes all.
            parent: [B,P] of the patches, see `Kinship`, by which those that are not computed find
                a change to take; None, or if there is none: they keep their value.
            turns: of all tokens; None: none is turned.
        """
        source = self.norm1(x)
        if kept is None:
            x = x + self.ls1(self.attn(source, source, turns, turns))
            whole: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
            return whole
        rows = _rows(kept, x.shape[1])
        before = _taken(x, rows)
        own = None if turns is None else turns.of(kept)
        asking = self.ls1(self.attn(_taken(source, rows), source, own, turns)) + before
        asking = asking + self.ls2(self.mlp(self.norm2(asking)))
        if parent is None:
            return x.flatten(0, 1).index_copy(0, rows, asking.flatten(0, 1)).view_as(x)
        return x + _passed_on(asking - before, rows, parent, x.shape[1])


Step = Callable[[Block, Tensor, Turns | None], Tensor]
"""Takes tokens [B,T,C] through a block."""


class Vit(nn.Module):
    """The trunk: a picture to features of some of its blocks."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.width))
        if config.alternating is not None:
            # Of the picture that gives the pose, and of all others.
            self.camera_token = nn.Parameter(torch.zeros(1, 2, config.width))
        self.patch_embed = _PatchEmbed(config.width)
        self.gated = tuple(Block(config, slot) for slot in range(config.depth))
        self.blocks = nn.ModuleList(self.gated)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(self, image: Tensor, keep: Sequence[int] | None = None) -> list[Tensor]:
        """Features behind the blocks of `taps`.

        Args:
            image: [B,3,H,W], normalised, sides whole multiples of `PATCH`.
            keep: of each block, how many patches it computes, 1 to all; None computes all.

        Returns:
            [B,C,h,w] each, h and w the sides in patches.
        """
        if keep is None:
            return self.walk(image, lambda block, x, turns: block(x, None, turns=turns))
        free = self.config.free

        def choose(block: Block, score: Tensor) -> Tensor:
            return best_tokens(score, free, keep[block.slot])

        return self.walk(image, self.gated_step(grid_of(image), choose))

    def walk(self, image: Tensor, step: Step) -> list[Tensor]:
        """Features behind the blocks of `taps`, where `step` takes the tokens through each block.

        Args:
            image: as above.
        """
        config, grid = self.config, grid_of(image)
        x = self.tokens(image)
        even: Tensor | None = None
        features = []
        for block in self.gated:
            if block.slot == config.alternating:
                x = torch.cat([self.camera_token[:, :1].expand(len(x), -1, -1), x[:, 1:]], 1)
            x = step(block, x, turns_in(config, block.slot, grid))
            if config.turns_at(block.slot) and block.slot % 2 == 0:
                even = x
            if block.slot in config.taps:
                features.append(self.feature(x, grid, even))
        return features

    def gated_step(self, grid: tuple[int, int], choose: Callable[[Block, Tensor], Tensor]) -> Step:
        """Computes in each block the tokens that are chosen.

        Args:
            choose: says of a block and the scores [B,P] of its patches which tokens [B,k] those
                are, the ones before the patches first.
        """
        kin: Kinship | None = None

        def step(block: Block, x: Tensor, turns: Turns | None) -> Tensor:
            nonlocal kin
            kin = self.kin(block, x, grid, kin)
            score = block.gate(x[:, self.config.free :], kin.novelty)
            result: Tensor = block(x, choose(block, score), kin.parent, turns=turns)
            return result

        return step

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

    def feature(self, x: Tensor, grid: tuple[int, int], even: Tensor | None = None) -> Tensor:
        """Tokens [B,T,C] behind a block of `taps` -> [B,C,h,w] on a grid of patches.

        Args:
            even: [B,T,C] tokens that are given as well, first: [B,2C,h,w]; None: there are none.
        """
        tokens = self.norm(x) if even is None else torch.cat([even, self.norm(x)], 2)
        patches = tokens[:, x.shape[1] - grid[0] * grid[1] :]
        feature: Tensor = patches.transpose(1, 2).reshape(len(x), -1, *grid)
        return feature

    def tokens(self, image: Tensor) -> Tensor:
        """[B,T,C]: the class token, registers, patches row by row."""
        grid = grid_of(image)
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
        if self.config.offset:
            scale = [(count + self.config.offset) / side for count in grid]
            moved = F.interpolate(learned, scale_factor=scale, mode="bicubic", align_corners=False)
        else:
            moved = F.interpolate(learned, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], moved.flatten(2).transpose(1, 2)], 1)


def grid_of(image: Tensor) -> tuple[int, int]:
    """(height, width) in patches of pictures [B,3,H,W]."""
    return image.shape[2] // PATCH, image.shape[3] // PATCH


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
    def __init__(self, width: int, heads: int, normalises: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm, self.k_norm = (
            nn.LayerNorm(width // heads) if normalises else nn.Identity() for _ in range(2)
        )
        self.proj = nn.Linear(width, width)

    def forward(
        self, asking: Tensor, source: Tensor, own: Turns | None, turns: Turns | None
    ) -> Tensor:
        """Tokens [B,k,C] that ask, tokens [B,T,C] that answer -> [B,k,C].

        Args:
            own, turns: of those that ask, and of those that answer.
        """
        width = source.shape[2]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = self._by_head(F.linear(asking, weight[:width], bias[:width]))
        # Slices, not `chunk`: a Split of constants would be left in the exported graph.
        key, value = (
            self._by_head(F.linear(source, weight[at : at + width], bias[at : at + width]))
            for at in (width, 2 * width)
        )
        query, key = self.q_norm(query), self.k_norm(key)
        if own is not None and turns is not None:
            query, key = own.apply(query), turns.apply(key)
        # Where products are in half precision, what normalises and turns is not.
        query, key = query.to(value), key.to(value)
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
