"""The dense prediction head of Ranftl et al. (ICCV 2021) as Depth Anything has it.

Features of four blocks become maps at 1/4 to 1/32 of a patch grid four times as fine, which are
fused from the coarsest on. Modules are named as in Depth Anything's published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.transformers.metres import ScaleAndShift
from pag_ros.lab.transformers.vit import PATCH

_HIDDEN = 32


@dataclass(frozen=True)
class DptConfig:
    """A head.

    Attributes:
        width: channels of the trunk's tokens.
        channels: of the four maps, finest first.
        features: channels while they are fused.
        max_depth_m: depth is a sigmoid times it; None: relative inverse depth, 0 or more.
        scale: makes metres of relative inverse depth; None leaves it.
    """

    width: int
    channels: tuple[int, int, int, int]
    features: int
    max_depth_m: float | None = None
    scale: ScaleAndShift | None = None

    @property
    def farthest_m(self) -> float | None:
        """The farthest depth to be trusted, metres; None: the depth is relative."""
        return self.max_depth_m if self.scale is None else self.scale.farthest_m


class DptHead(nn.Module):
    """Features to depth in metres, or to relative inverse depth."""

    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        self.config = config
        finest, fine, _, coarsest = config.channels
        self.projects = nn.ModuleList(nn.Conv2d(config.width, c, 1) for c in config.channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(finest, finest, 4, stride=4),
                nn.ConvTranspose2d(fine, fine, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(coarsest, coarsest, 3, stride=2, padding=1),
            ]
        )
        self.scratch = _Scratch(config)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[B,C,h,w] of four blocks, the first first -> [B,1,14h,14w]."""
        height, width = features[0].shape[2:]
        maps = [
            resize(project(feature))
            for project, resize, feature in zip(
                self.projects, self.resize_layers, features, strict=True
            )
        ]
        scratch = self.scratch
        near = [scratch.layer(i, each) for i, each in enumerate(maps, 1)]
        path = scratch.fuse(4, near[3], None, near[2].shape[2:])
        path = scratch.fuse(3, path, near[2], near[1].shape[2:])
        path = scratch.fuse(2, path, near[1], near[0].shape[2:])
        path = scratch.fuse(1, path, near[0], None)
        large = _resized(scratch.output_conv1(path), (height * PATCH, width * PATCH))
        result: Tensor = scratch.output_conv2(large)
        if self.config.max_depth_m is not None:
            return result.sigmoid() * self.config.max_depth_m
        disparity = F.relu(result)
        return disparity if self.config.scale is None else self.config.scale.metres(disparity)


class _Scratch(nn.Module):
    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        for number, channels in enumerate(config.channels, 1):
            layer = nn.Conv2d(channels, config.features, 3, padding=1, bias=False)
            self.add_module(f"layer{number}_rn", layer)
            self.add_module(f"refinenet{number}", _Fusion(config.features))
        half = config.features // 2
        self.output_conv1 = nn.Conv2d(config.features, half, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(half, _HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(_HIDDEN, 1, 1)
        )

    def layer(self, number: int, x: Tensor) -> Tensor:
        result: Tensor = self.get_submodule(f"layer{number}_rn")(x)
        return result

    def fuse(
        self, number: int, below: Tensor, finer: Tensor | None, size: Sequence[int] | None
    ) -> Tensor:
        result: Tensor = self.get_submodule(f"refinenet{number}")(below, finer, size)
        return result


class _Fusion(nn.Module):
    """Adds a finer map to what came from below, and enlarges the sum."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = _Residual(features)
        self.resConfUnit2 = _Residual(features)

    def forward(self, below: Tensor, finer: Tensor | None, size: Sequence[int] | None) -> Tensor:
        x = below if finer is None else below + self.resConfUnit1(finer)
        x = self.resConfUnit2(x)
        wanted = (2 * x.shape[2], 2 * x.shape[3]) if size is None else (size[0], size[1])
        result: Tensor = self.out_conv(_resized(x, wanted))
        return result


class _Residual(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        return result


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
