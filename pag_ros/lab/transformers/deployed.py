"""The gated Depth Anything as a robot runs it: the graph of docs/operators.md.

A block's tokens are chosen by `pag.Select`, so thresholds, trimming by the clock and the list of
what was computed work as in every other model; all else is standard operators on fewer rows. The
same once more in standard operators alone, for other runtimes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.model import operators
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, normalised
from pag_ros.lab.transformers.vit import PATCH, Block, Turns

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
        grid = _grid(image)
        free = self.network.pretrained.config.free
        counts, indices = [], []

        def choose(block: Block, score: Tensor) -> Tensor:
            index, count = operators.select(
                score.view(1, *grid), keep[block.slot], limits[block.slot], f"block{block.slot}"
            )
            counts.append(count)
            indices.append(index)
            number: Any = count.item()  # no int(): the exporter follows it as a size that varies
            torch._check(number >= 0)  # type: ignore[no-untyped-call]
            torch._check(number <= index.shape[0])  # type: ignore[no-untyped-call]
            return _tokens(index.narrow(0, 0, number).long(), free)

        depth = _gated_depth(self.network, image, fx, choose, operators.end)
        return depth, normals_of(depth, fx), torch.cat(counts), *indices

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        slots = range(len(self.network.pretrained.gated))
        return ["depth", "normals", "count", *(f"index{slot}" for slot in slots)]


class StandardDepthAnything(nn.Module):
    """The gated network in standard operators alone, for any runtime: counts, and no clock.

    Args:
        network: in evaluation mode, metric.
    """

    def __init__(self, network: GatedDepthAnything) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, fx: Tensor, keep: Tensor) -> tuple[Tensor, ...]:
        """The graph; inputs as above, `keep` 1 or more.

        Returns:
            Depth [1,H,W] in metres, normals [1,H,W,3], and of each block the patches that it
            computed [keep] int32; named by `output_names`.
        """
        free = self.network.pretrained.config.free
        indices = []

        def choose(block: Block, score: Tensor) -> Tensor:
            number: Any = keep[block.slot].item()
            torch._check(number >= 1)  # type: ignore[no-untyped-call]
            torch._check(number <= score.shape[1])  # type: ignore[no-untyped-call]
            index = score.topk(number, dim=1).indices[0]
            indices.append(index.to(torch.int32))
            return _tokens(index, free)

        depth = _gated_depth(self.network, image, fx, choose)
        return depth, normals_of(depth, fx), *indices

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        slots = range(len(self.network.pretrained.gated))
        return ["depth", "normals", *(f"index{slot}" for slot in slots)]


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
        depth = self.network(image.to(torch.float32).permute(0, 3, 1, 2) / 255.0, fx=fx)[:, 0]
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


def _gated_depth(
    network: GatedDepthAnything,
    image: Tensor,
    fx: Tensor,
    choose: Callable[[Block, Tensor], Tensor],
    end: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """[1,H,W] metres.

    Args:
        image: [1,H,W,3] uint8.
        fx: [1] focal length in pixels.
        choose: says of a block and the scores [1,P] of its patches which tokens it computes.
        end: is given the tokens behind the last block.
    """
    trunk = network.pretrained
    gated = trunk.gated_step(_grid(image), choose)

    def step(block: Block, x: Tensor, turns: Turns | None) -> Tensor:
        x = gated(block, x, turns)
        return end(x) if block is trunk.gated[-1] else x

    # TensorRT wants bytes to become numbers before anything else happens to them.
    picture = normalised(image.to(torch.float32).permute(0, 3, 1, 2) / 255.0)
    depth: Tensor = network.depth_head(trunk.walk(picture, step), fx)[:, 0]
    return depth


def _tokens(patches: Tensor, free: int) -> Tensor:
    """Patches [k] as tokens [1,free+k], behind those that are always computed."""
    return torch.cat([torch.arange(free), patches + free])[None]


def _grid(image: Tensor) -> tuple[int, int]:
    """(height, width) in patches."""
    return image.shape[1] // PATCH, image.shape[2] // PATCH
