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

from pag_ros.lab.export.graph import standard_classify
from pag_ros.lab.model import operators
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, normalised
from pag_ros.lab.transformers.vit import PATCH, Block, Turns
from pag_ros.runtime.outputs import OUTPUTS

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

        features = _gated_features(self.network, image, choose, operators.end)
        maps = _maps(self.network, features, image, fx, operators.classify)
        return *maps, torch.cat(counts), *indices

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        slots = range(len(self.network.pretrained.gated))
        return [*map_names(self.network), "count", *(f"index{slot}" for slot in slots)]


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
            Depth [1,H,W] in metres, normals [1,H,W,3], with a head for them labels [1,H,W] uint8
            and their confidence [1,H,W], and of each block the patches that it computed [keep]
            int32; named by `output_names`.
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

        features = _gated_features(self.network, image, choose)
        return *_maps(self.network, features, image, fx, standard_classify), *indices

    def output_names(self) -> list[str]:
        """Names of what `forward` returns, in order."""
        slots = range(len(self.network.pretrained.gated))
        return [*map_names(self.network), *(f"index{slot}" for slot in slots)]


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


def map_names(network: GatedDepthAnything) -> list[str]:
    """Names of the maps that a network gives, in order."""
    heads = heads_of(network)
    return [output.name for output in OUTPUTS if output.part in heads]


def heads_of(network: GatedDepthAnything) -> tuple[str, ...]:
    """The network's heads, as its manifest names them."""
    heads = "depth", "normals"
    return heads if network.label_head is None else (*heads, "segmentation")


def _maps(
    network: GatedDepthAnything,
    features: list[Tensor],
    image: Tensor,
    fx: Tensor,
    classify: Callable[[Tensor, int, int], tuple[Tensor, Tensor]],
) -> tuple[Tensor, ...]:
    """What the network makes of the features of a picture, named by `map_names`."""
    depth = network.depth_head(features, fx)[:, 0]
    maps: tuple[Tensor, ...] = depth, normals_of(depth, fx)
    if network.label_head is None:
        return maps
    return *maps, *classify(network.label_head(features), image.shape[1], image.shape[2])


def _gated_features(
    network: GatedDepthAnything,
    image: Tensor,
    choose: Callable[[Block, Tensor], Tensor],
    end: Callable[[Tensor], Tensor] = lambda x: x,
) -> list[Tensor]:
    """[1,C,h,w] behind the blocks of `taps`.

    Args:
        image: [1,H,W,3] uint8.
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
    return trunk.walk(picture, step)


def _tokens(patches: Tensor, free: int) -> Tensor:
    """Patches [k] as tokens [1,free+k], behind those that are always computed."""
    return torch.cat([torch.arange(free), patches + free])[None]


def _grid(image: Tensor) -> tuple[int, int]:
    """(height, width) in patches."""
    return image.shape[1] // PATCH, image.shape[2] // PATCH
