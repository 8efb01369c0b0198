"""Other ways to spend less compute in a transformer, at equal multiply-adds.

Each gives the features that the head takes. Tokens at random or on a grid take the gates' place;
truncation leaves out the last blocks; merging joins tokens that are alike (Bolya et al., "Token
Merging: Your ViT But Faster", ICLR 2023), and those that were joined have one value behind each
tap.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.likeness import even_sequence
from pag_ros.lab.transformers.vit import PATCH, Block, Vit, VitConfig, macs_per_token

Features = Callable[[Tensor], list[Tensor]]
"""[1,3,H,W], normalised -> [1,C,h,w] behind each tap."""


def rivals(
    trunk: Vit, budget: float, patches: tuple[int, int], seed: int = 0
) -> dict[str, Features]:
    """Name -> what costs as many multiply-adds as the gated trunk at a budget.

    Args:
        budget: share of the patches that each gated block computes.
        patches: (height, width) of the pictures, in patches.
        seed: of the random tokens.
    """
    config = trunk.config
    count = round(budget * patches[0] * patches[1])
    tokens = patches[0] * patches[1] + 1 + config.registers
    macs = gated_macs(config, tokens, count)
    merged = merged_per_block(config, tokens, macs)
    whole, part = truncated_blocks(config, tokens, macs)
    generator = torch.Generator().manual_seed(seed)

    def at_random(block: Block, x: Tensor, free: int) -> Tensor:
        return _best(torch.rand(len(x), x.shape[1] - free, generator=generator), count, free)

    def on_a_grid(block: Block, x: Tensor, free: int) -> Tensor:
        return _best(even_sequence(patches, block.slot), count, free)

    def truncated(block: Block, x: Tensor, free: int) -> Tensor | None:
        if block.slot < whole:
            return None
        return _best(even_sequence(patches, 0), part if block.slot == whole else 0, free)

    return {
        "random tokens": lambda image: _features(trunk, image, at_random),
        "grid tokens": lambda image: _features(trunk, image, on_a_grid),
        "last blocks left out": lambda image: _features(trunk, image, truncated),
        "merged tokens": lambda image: merged_features(trunk, image, merged),
    }


def gated_features(network: GatedDepthAnything, budget: float) -> Features:
    """What the network's own gates give at a budget."""

    def features(image: Tensor) -> list[Tensor]:
        patches = image.shape[2] * image.shape[3] // PATCH**2
        result: list[Tensor] = network.pretrained(image, network.keep_for(budget, patches))
        return result

    return features


def gated_macs(config: VitConfig, tokens: int, count: int) -> int:
    """Multiply-adds of the blocks where each computes `count` patches of all `tokens`."""
    return config.depth * _block_macs(config, tokens, count + 1 + config.registers)


def truncated_blocks(config: VitConfig, tokens: int, macs: int) -> tuple[int, int]:
    """(first blocks that compute everything, patches that the next one computes) for `macs`."""
    whole, rest = divmod(macs, _block_macs(config, tokens, tokens))
    always = _block_macs(config, tokens, 1 + config.registers)
    each = _block_macs(config, tokens, 1) - _block_macs(config, tokens, 0)
    return whole, max(0, (rest - always) // each)


def merged_per_block(config: VitConfig, tokens: int, macs: int) -> int:
    """The fewest tokens to merge in each block so that all cost `macs` at most.

    What finding the pairs costs is left out, to merging's advantage.
    """
    for count in range(tokens):
        if merging_macs(config, tokens, count) <= macs:
            return count
    return tokens


def merging_macs(config: VitConfig, tokens: int, count: int) -> int:
    """Multiply-adds of the blocks where each merges `count` tokens, or half of those it has."""
    total, width = 0, config.width
    for _ in range(config.depth):
        total += 4 * tokens * width**2 + 2 * tokens**2 * width
        tokens -= min(count, _most_merged(tokens, 1 + config.registers))
        total += 8 * tokens * width**2
    return total


def merged_features(trunk: Vit, image: Tensor, count: int) -> list[Tensor]:
    """Features where each block merges `count` tokens between its attention and its MLP."""
    grid = image.shape[2] // PATCH, image.shape[3] // PATCH
    x = trunk.tokens(image)
    free = x.shape[1] - grid[0] * grid[1]
    place, size = torch.arange(x.shape[1]), torch.ones(x.shape[1])
    features = []
    for block in trunk.gated:
        mixed, keys = _attended(block, block.norm1(x), size)
        x = x + block.ls1(mixed)
        to, number = _pairs(keys[0], min(count, _most_merged(x.shape[1], free)), free)
        weight = torch.zeros(number).index_add(0, to, size)
        joined = torch.zeros(number, x.shape[2]).index_add(0, to, x[0] * size[:, None])
        x, size, place = (joined / weight[:, None])[None], weight, to[place]
        x = x + block.ls2(block.mlp(block.norm2(x)))
        if block.slot in trunk.config.taps:
            features.append(trunk.feature(x[:, place], grid))
    return features


def _features(
    trunk: Vit, image: Tensor, choose: Callable[[Block, Tensor, int], Tensor | None]
) -> list[Tensor]:
    """Features where `choose` tells the tokens [B,k] of each block, of all tokens [B,T,C]."""
    grid = image.shape[2] // PATCH, image.shape[3] // PATCH
    x = trunk.tokens(image)
    features = []
    for block in trunk.gated:
        kept = choose(block, x, x.shape[1] - grid[0] * grid[1])
        x = x if kept is not None and kept.shape[1] == 0 else block(x, kept)
        if block.slot in trunk.config.taps:
            features.append(trunk.feature(x, grid))
    return features


def _block_macs(config: VitConfig, tokens: int, computed: int) -> int:
    """Keys and values of all tokens, everything else of those that are computed."""
    return 2 * tokens * config.width**2 + computed * macs_per_token(config, tokens)


def _best(scores: Tensor, count: int, free: int) -> Tensor:
    """[B,free+count] tokens; none at all if none is to be computed."""
    if count == 0:
        return torch.empty(len(scores), 0, dtype=torch.long)
    chosen = scores.topk(count, dim=1).indices + free
    return torch.cat([torch.arange(free).expand(len(scores), -1), chosen], 1)


def _most_merged(tokens: int, free: int) -> int:
    return (tokens - free) // 2


def _attended(block: Block, source: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Attention [1,T,C], a token counting as many times as it stands for, and keys [1,T,D]."""
    heads = block.attn.heads
    query, key, value = (
        part.unflatten(2, (heads, -1)).transpose(1, 2)
        for part in block.attn.qkv(source).chunk(3, dim=2)
    )
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=size.log()[None, None, None]
    )
    result: Tensor = block.attn.proj(mixed.transpose(1, 2).flatten(2))
    return result, key.mean(1)


def _pairs(keys: Tensor, count: int, free: int) -> tuple[Tensor, int]:
    """Where each token goes when `count` patches join the one that is most like them.

    Patches take turns to be one that may go or one that may be joined; the first `free` stay.

    Args:
        keys: [T,D].

    Returns:
        [T] new places, and how many places there are.
    """
    total = len(keys)
    going = torch.arange(free, total, 2)
    staying = torch.arange(free + 1, total, 2)
    if count == 0 or not len(staying):
        return torch.arange(total), total
    unit = F.normalize(keys, dim=1)
    likeness, partner = (unit[going] @ unit[staying].T).max(1)
    gone = likeness.topk(count).indices
    stays = torch.ones(total, dtype=torch.bool)
    stays[going[gone]] = False
    to = stays.cumsum(0) - 1
    to[going[gone]] = to[staying[partner[gone]]]
    return to, int(stays.sum())
