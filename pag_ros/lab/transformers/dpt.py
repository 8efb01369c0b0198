"""The dense prediction head of Ranftl et al. (ICCV 2021) as Depth Anything has it.

Features of four blocks become maps at 1/4 to 1/32 of a patch grid four times as fine, which are
fused from the coarsest on. Modules are named as in Depth Anything's published checkpoints.

Depth Anything 3 has the same one, whose result is the logarithm of the depth. Of its head for
several pictures this is the branch of the depth; that of the rays is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.transformers.metres import BEYOND, Factor, ScaleAndShift
from pag_ros.lab.transformers.vit import PATCH

_HIDDEN = 32
_SKY = 0.3
"""From it on a pixel is sky, as in the published code."""
_PLACE_SHARE, _PLACE_BASE = 0.1, 100.0
"""Of the waves that tell a map its places: their height, and how many times slower the last is."""


@dataclass(frozen=True)
class DptConfig:
    """A head.

    Attributes:
        width: channels of the trunk's features.
        channels: of the four maps, finest first.
        features: channels while they are fused.
        max_depth_m: the farthest of a metric depth, which is a sigmoid times it; None: relative
            inverse depth, 0 or more.
        scale: makes metres of what is relative; None leaves it.
        is_log: the result is the logarithm of a depth, metric or relative, instead.
        metric_px: focal length in pixels for which such a depth is metres; at another one it is
            longer in proportion. None: the depth is relative.
        has_sky: a second branch knows the sky, which is beyond what is trusted.
        has_places: features are normalised, maps are told their places, and a second channel of the
            result (how sure it is) is not used.
    """

    width: int
    channels: tuple[int, int, int, int]
    features: int
    max_depth_m: float | None = None
    scale: ScaleAndShift | Factor | None = None
    is_log: bool = False
    metric_px: float | None = None
    has_sky: bool = False
    has_places: bool = False

    @property
    def farthest_m(self) -> float | None:
        """The farthest depth to be trusted, metres; None: the depth is relative."""
        return self.max_depth_m if self.scale is None else self.scale.farthest_m


class DptHead(nn.Module):
    """Features to depth in metres, to relative depth, or to relative inverse depth."""

    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        self.config = config
        finest, fine, _, coarsest = config.channels
        self.norm = nn.LayerNorm(config.width) if config.has_places else nn.Identity()
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

    def forward(self, features: Sequence[Tensor], fx: Tensor | None = None) -> Tensor:
        """[B,C,h,w] of four blocks, the first first -> [B,1,14h,14w].

        Args:
            fx: [B] focal length in pixels; None: that of `DptConfig.metric_px`.
        """
        height, width = features[0].shape[2:]
        maps = [
            resize(self._placed(project(self._normalised(feature)), width / height))
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
        large = self._placed(large, width / height)
        result: Tensor = scratch.output_conv2(large)
        if self.config.is_log:
            return self._depth(result[:, :1].exp(), large, fx)
        if self.config.max_depth_m is not None:
            return result.sigmoid() * self.config.max_depth_m
        disparity = F.relu(result)
        return disparity if self.config.scale is None else self.config.scale.metres(disparity)

    def _depth(self, depth: Tensor, large: Tensor, fx: Tensor | None) -> Tensor:
        """Depth [B,1,H,W] as it is trusted, of what the last branches read."""
        config = self.config
        if config.metric_px is not None and fx is not None:
            depth = depth * (fx / config.metric_px).view(-1, 1, 1, 1)
        if config.scale is not None:
            depth = config.scale.metres(depth)
        if config.farthest_m is None:
            return depth
        beyond = BEYOND * config.farthest_m
        if config.has_sky:
            depth = depth.where(self.scratch.sky_output_conv2(large) < _SKY, beyond)
        return depth.clamp(max=beyond)

    def _normalised(self, feature: Tensor) -> Tensor:
        if not self.config.has_places:
            return feature
        normalised: Tensor = self.norm(feature.permute(0, 2, 3, 1))
        return normalised.permute(0, 3, 1, 2)

    def _placed(self, x: Tensor, aspect: float) -> Tensor:
        """A map [B,C,h,w] of a picture so many times as wide as high, told its places.

        The first half of the channels has waves along rows, the other half along columns; so two
        narrow tensors say all of them.
        """
        if not self.config.has_places:
            return x
        channels, height, width = x.shape[1:]
        diagonal = math.hypot(aspect, 1.0)
        across = _waves(width, aspect / diagonal, channels // 2)[None, :, None]
        down = _waves(height, 1.0 / diagonal, channels // 2)[None, :, :, None]
        across = F.pad(across, (0, 0, 0, 0, 0, channels // 2))
        down = F.pad(down, (0, 0, 0, 0, channels // 2, 0))
        return x + across.to(x) + down.to(x)


class _Scratch(nn.Module):
    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        for number, channels in enumerate(config.channels, 1):
            layer = nn.Conv2d(channels, config.features, 3, padding=1, bias=False)
            self.add_module(f"layer{number}_rn", layer)
            self.add_module(f"refinenet{number}", _Fusion(config.features))
        half = config.features // 2
        self.output_conv1 = nn.Conv2d(config.features, half, 3, padding=1)
        self.output_conv2 = _branch(half, 2 if config.has_places else 1)
        if config.has_sky:
            self.sky_output_conv2 = _branch(half, 1)

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


def _branch(channels: int, results: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, _HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(_HIDDEN, results, 1)
    )


def _waves(count: int, reach: float, channels: int) -> Tensor:
    """[C,count] sines and cosines of the places of so many pixels, from -`reach` to `reach`."""
    last = reach * (count - 1) / count
    place = torch.linspace(-last, last, count)
    half = channels // 2
    angle = place * (_PLACE_BASE ** -(torch.arange(half) / half))[:, None]
    return _PLACE_SHARE * torch.cat([angle.sin(), angle.cos()])


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
