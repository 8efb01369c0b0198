"""Other networks from a given one: fewer trunk blocks, a smaller input, no MultiPool."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from pag_ros.errors import ModelError
from pag_ros.lab.baselines.costs import NetworkCosts, network_costs
from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.blocks import GatedBasicBlock
from pag_ros.lab.model.network import GatedTrunkNet

_MIN_SIDE = 16


def truncated(network: PagNetwork, blocks: int) -> PagNetwork:
    """A copy with the first `blocks` trunk blocks only; decoder and heads stay to be retrained.

    Raises:
        ModelError: the network has no trunk, or fewer blocks.
    """
    if not isinstance(network, GatedTrunkNet):
        raise ModelError("truncation needs a network with a gated trunk (lite0, lite2)")
    if not 0 <= blocks <= len(network.trunk):
        raise ModelError(f"truncation to {blocks} of {len(network.trunk)} blocks")
    shorter = copy.deepcopy(network)
    shorter.trunk = nn.ModuleList(list(shorter.trunk)[:blocks])
    # `multipool` no longer says where a MultiPool is, if one is left: the blocks themselves do.
    shorter.config = replace(network.config, blocks=blocks)
    shorter.number_blocks()
    return shorter


def without_multipool(network: PagNetwork) -> PagNetwork:
    """A copy in which the MultiPool is the plain 3x3 whose weights it shares among its sizes.

    Raises:
        ModelError: no trunk, or no MultiPool in it.
    """
    plain = copy.deepcopy(network)
    pooled = [
        block for block in plain.gated if isinstance(block, GatedBasicBlock) and block.multipool
    ]
    if not pooled:
        raise ModelError("the network has no MultiPool in a basic block")
    for block in pooled:
        block.conv1, block.bn1 = block.pool.conv, block.pool.norm
        block.conv1.padding = (1, 1)
        del block.pool
        block.multipool = False
    plain.config = replace(network.config, multipool=False)
    return plain


def blocks_within(costs: Sequence[int], budget: float) -> int:
    """How many first blocks cost most nearly `budget` of all; of equals, fewer.

    Args:
        costs: multiply-adds of each block.
        budget: 0 to 1.
    """
    wanted = budget * sum(costs)
    return min(range(len(costs) + 1), key=lambda count: abs(sum(costs[:count]) - wanted))


def matching_size(
    network: PagNetwork, size: tuple[int, int], wanted: float
) -> tuple[tuple[int, int], NetworkCosts]:
    """The input size at which the whole network, without gates, costs most nearly `wanted`.

    Args:
        network: whose multiply-adds count.
        size: (width, height), the largest; its shape is kept within a pixel.
        wanted: multiply-adds of one picture.

    Returns:
        (width, height), and the costs at that size.
    """
    width, height = size
    low, high = _MIN_SIDE, width
    tried: dict[int, tuple[tuple[int, int], NetworkCosts]] = {}

    def total(candidate: int) -> int:
        if candidate not in tried:
            smaller = (candidate, max(_MIN_SIDE, round(height * candidate / width)))
            tried[candidate] = smaller, network_costs(network, smaller)
        costs = tried[candidate][1]
        return costs.dense + costs.gated

    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(middle) < wanted else (low, middle)
    while high < width and total(high + 1) == total(high):
        high += 1  # Feature maps round up, so several sizes may cost the same: the largest of them.
    return tried[min((high, low), key=lambda candidate: abs(total(candidate) - wanted))]
