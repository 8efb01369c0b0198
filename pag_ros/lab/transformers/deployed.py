"""The gated Depth Anything as a robot runs it: the graph of docs/operators.md.

A block's tokens are chosen by `pag.Select`, so thresholds, trimming by the clock and the list of
what was computed work as in every other model; all else is standard operators on fewer rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.model import operators
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, normalised
from pag_ros.lab.transformers.likeness import Kinship
from pag_ros.lab.transformers.vit import PATCH

_NEAREST_M = 1e-3


class DeployedDepthAnything(nn.Module):
    """A metric network with its pre- and post-processing.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: GatedDepthAnything) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, image: Tensor, fx: Tensor, keep: Tensor, limits: Tensor
    ) -> tuple[Tensor, ...]:
        """The graph.

        Args:
            image: [1,H,W,3] uint8 RGB, sides whole multiples of `PATCH`.
            fx: [1] float32, focal length in pixels of this image; normals follow from it.
            keep: [L] int32, patches that each block computes.
            limits: [L,3] float32, see `pag_ros.lab.model.operators.select`; the input `plan`.

        Returns:
            The outputs named by `output_names`.
        """
        grid = image.shape[1] // PATCH, image.shape[2] // PATCH
        pixels = image.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        trunk = self.network.pretrained
        x = trunk.tokens(normalised(pixels))
        free = x.shape[1] - grid[0] * grid[1]
        features, counts, indices = [], [], []
        kin: Kinship | None = None
        for block in trunk.gated:
            kin = trunk.kin(block, x, grid, kin)
            score = block.gate(x[:, free:], kin.novelty).view(1, *grid)
            index, count = operators.select(
                score, keep[block.slot], limits[block.slot], f"block{block.slot}"
            )
            x = block(x, _kept(index, count, free), kin.parent)
            if block is trunk.gated[-1]:
                x = operators.end(x)
            counts.append(count)
            indices.append(index)
            if block.slot in trunk.config.taps:
                features.append(trunk.feature(x, grid))
        depth = self.network.depth_head(features)[:, 0]
        return depth, normals_of(depth, fx), torch.cat(counts), *indices

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        slots = range(len(self.network.pretrained.gated))
        return ["depth", "normals", "count", *(f"index{slot}" for slot in slots)]


class UngatedDepthAnything(nn.Module):
    """The network as published, with the same pre- and post-processing: what ours is compared with.

    Args:
        network: in evaluation mode, metric.
    """

    def __init__(self, network: GatedDepthAnything) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, fx: Tensor) -> tuple[Tensor, Tensor]:
        """Depth [1,H,W] in metres and normals [1,H,W,3] of `image` and `fx` as above."""
        depth = self.network(image.permute(0, 3, 1, 2).to(torch.float32) / 255.0)[:, 0]
        return depth, normals_of(depth, fx)


def normals_of(depth: Tensor, fx: Tensor) -> Tensor:
    """Unit normals, facing the camera, that a depth implies; its principal point is the middle.

    A point is z (x, y, 1), so its derivatives along a row and a column are z (g r + r') with g the
    slope of log z; their cross product needs no z.

    Args:
        depth: [1,H,W] metres.
        fx: [1] focal length in pixels.

    Returns:
        [1,H,W,3].
    """
    height, width = depth.shape[1:]
    log_depth = F.pad(depth.clamp(min=_NEAREST_M).log()[:, None], [1, 1, 1, 1], mode="replicate")
    across = (log_depth[:, 0, 1:-1, 2:] - log_depth[:, 0, 1:-1, :-2]) / 2.0
    down = (log_depth[:, 0, 2:, 1:-1] - log_depth[:, 0, :-2, 1:-1]) / 2.0
    pixel = (1.0 / fx).view(1, 1, 1)
    x = (torch.arange(width) - (width - 1) / 2.0) * pixel
    y = (torch.arange(height) - (height - 1) / 2.0)[:, None] * pixel
    return F.normalize(torch.stack([across, down, -(x * across + y * down + pixel)], 3), dim=3)


def _kept(index: Tensor, count: Tensor, free: int) -> Tensor:
    """[1,free+count] tokens that a block computes, of the patches that were selected."""
    number: Any = count.item()  # no int(): the exporter follows it as a size that varies
    torch._check(number >= 0)  # type: ignore[no-untyped-call]
    torch._check(number <= index.shape[0])  # type: ignore[no-untyped-call]
    chosen = index.narrow(0, 0, number).long() + free
    return torch.cat([torch.arange(free), chosen])[None]
