"""Fill what was skipped: every output that is not computed is a copy of the nearest computed one.

Figurnov et al., "PerforatedCNNs: Acceleration through Elimination of Redundant Convolutions",
NIPS 2016.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.errors import ModelError
from pag_ros.lab.model.blocks import GatedBasicBlock, GatedBlock


def interpolated(block: GatedBlock, x: Tensor, mask: Tensor, nearest: Tensor) -> Tensor:
    """A block whose convolutions are computed under a mask and filled from the nearest pixel.

    A gate learns what computing a pixel adds to the copy that it has otherwise.

    Args:
        x: [B,C,H,W].
        mask: [B,1,H,W], 0 or 1 in value; gradients may be soft.
        nearest: [B,H*W], see `nearest_computed`.

    Raises:
        ModelError: the block is not a basic block.
    """
    block = _basic(block)
    first = block.pool(x, mask) if block.multipool else block.bn1(block.conv1(x))
    computed = block.bn2(block.conv2(_filled(F.relu(first), nearest)))
    residual = _filled(computed, nearest)
    if mask.requires_grad:
        residual = residual + (mask - mask.detach()) * (computed - residual)
    base = x if block.downsample is None else block.downsample(x)
    return F.relu(base + residual)


def fill_macs(block: GatedBlock, mask: Tensor) -> Tensor:
    """What filling costs, [B] int64 multiply-adds.

    Nothing is multiplied to copy a neighbour; one per channel pays for adding it, after either
    convolution.

    Raises:
        ModelError: the block is not a basic block.
    """
    conv = _basic(block).conv2
    skipped = (mask.detach().flatten(1) < 0.5).sum(1).cpu()
    return skipped * (conv.in_channels + conv.out_channels)


def nearest_computed(mask: Tensor) -> Tensor:
    """Find every pixel's nearest computed one, of equals the lower: flat indices [H*W] int64.

    Args:
        mask: [H,W] bool; where nothing is computed, every pixel is its own nearest.
    """
    width = mask.shape[1]
    computed = mask.flatten().nonzero()[:, 0]
    every = torch.arange(mask.numel())
    if not len(computed):
        return every
    rows = every // width
    columns = every % width
    distance = (rows[:, None] - rows[computed]) ** 2 + (columns[:, None] - columns[computed]) ** 2
    # Distinct keys: argmin alone does not promise which of equals it returns.
    return computed[(distance * mask.numel() + computed).argmin(dim=1)]


def _filled(values: Tensor, nearest: Tensor) -> Tensor:
    """[B,C,H,W] with every pixel replaced by its nearest computed one, itself if computed."""
    places = nearest[:, None].expand(-1, values.shape[1], -1)
    return values.flatten(2).gather(2, places).view_as(values)


def _basic(block: GatedBlock) -> GatedBasicBlock:
    if not isinstance(block, GatedBasicBlock):
        raise ModelError("interpolation needs basic blocks (lite0, lite2, resnet18)")
    return block
