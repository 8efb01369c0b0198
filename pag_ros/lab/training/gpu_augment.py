"""What `augment` does to one frame in NumPy, done to a whole batch by torch.

Compression is left out: frames that are trained on went through JPEG before.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

_LUMA = (0.299, 0.587, 0.114)
_KERNEL = 11
_REACH = _KERNEL // 2


def random_views(count: int, generator: Generator) -> Tensor:
    """[count,4]: share of the width (0.6 to 1), place of the part in x and y (-1 to 1 of what is
    left), and 1 or -1, mirrored."""
    part = _uniform((count,), 0.6, 1.0, generator)
    whole = torch.ones_like(part)
    share = torch.where(_chance(count, 0.6, generator), part, whole)
    place = _uniform((count, 2), -1.0, 1.0, generator)
    mirrored = torch.where(_chance(count, 0.5, generator), -whole, whole)
    return torch.stack([share, place[:, 0], place[:, 1], mirrored], 1)


def reframe(item: dict[str, Tensor], size: tuple[int, int], views: Tensor) -> dict[str, Tensor]:
    """A part of each frame at another size, perhaps mirrored.

    Args:
        item: batch as `Rooms` describes an item, all float32, at any size.
        size: (width, height) of the result.
        views: see `random_views`.

    Returns:
        The batch, "image" and "runner_up" uint8, "labels" int64.
    """
    share, x, y, mirrored = views.unbind(1)
    zero = torch.zeros_like(share)
    # where, in the frame from -1 to 1, a pixel of the result comes from
    rows = [[share * mirrored, zero, x * (1.0 - share)], [zero, share, y * (1.0 - share)]]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(theta, [len(views), 1, size[1], size[0]], align_corners=False)
    picture = F.grid_sample(
        item["image"], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    maps = [name for name in item if name not in ("image", "focal_px")]
    planes = [item[name] if item[name].dim() == 4 else item[name][:, None] for name in maps]
    # nearest pixels: beside an unknown one (NaN) they alone stay known
    moved = F.grid_sample(
        torch.cat(planes, 1), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    parts = torch.split(moved, [plane.shape[1] for plane in planes], 1)
    truths = dict(zip(maps, parts, strict=True))
    flip = torch.ones(3, device=views.device).repeat(len(views), 1)
    flip[:, 0] = mirrored
    scale = size[0] / item["image"].shape[3]
    return {
        "image": picture.round().to(torch.uint8),
        "depth": truths["depth"][:, 0],
        "normals": truths["normals"] * flip[:, :, None, None],
        "labels": truths["labels"][:, 0].long(),
        "runner_up": truths["runner_up"].to(torch.uint8),
        "boundary": truths["boundary"][:, 0],
        "focal_px": item["focal_px"] * scale / share,
    }


def photograph(pictures: Tensor, flaws: float, generator: Generator) -> Tensor:
    """A camera's imperfections on a share of clean pictures.

    Args:
        pictures: uint8 [B,3,H,W] RGB.
        flaws: share of them that get any.
    """
    count = len(pictures)
    picture = _light(pictures.float() / 255.0, generator)
    luma = torch.tensor(_LUMA, device=picture.device)[:, None, None]
    grey = (picture * luma).sum(1, keepdim=True).expand_as(picture)
    picture = _where(_chance(count, 0.33, generator), grey, picture)
    picture = _where(_chance(count, 0.3, generator), _vignette(picture, generator), picture)
    picture = _where(_chance(count, 0.5, generator), _blur(picture, generator), picture)
    noise = torch.empty_like(picture).normal_(generator=generator)
    sigma = _uniform((count, 1, 1, 1), 0.0, 0.05, generator)
    picture = _where(_chance(count, 0.6, generator), picture + sigma * noise, picture)
    result = (picture.clamp(0.0, 1.0) * 255.0).to(torch.uint8)
    return _where(_chance(count, flaws, generator), result, pictures)


def _light(picture: Tensor, generator: Generator) -> Tensor:
    """Exposure, contrast, gamma, colour cast and saturation."""
    count = len(picture)
    one = (count, 1, 1, 1)
    gain = _uniform(one, 0.6, 1.5, generator) * _uniform((count, 3, 1, 1), 0.85, 1.15, generator)
    picture = picture ** _uniform(one, -0.45, 0.45, generator).exp() * gain
    grey = picture.mean(1, keepdim=True)
    picture = grey + (picture - grey) * _uniform(one, 0.3, 1.6, generator)
    pivot = picture.mean((1, 2, 3), keepdim=True)
    return ((picture - pivot) * _uniform(one, 0.7, 1.4, generator) + pivot).clamp(0.0, 1.0)


def _vignette(picture: Tensor, generator: Generator) -> Tensor:
    height, width = picture.shape[2:]
    y = torch.linspace(-1.0, 1.0, height, device=picture.device)[:, None]
    x = torch.linspace(-1.0, 1.0, width, device=picture.device)
    depth = _uniform((len(picture), 1, 1, 1), 0.1, 0.5, generator)
    return picture * (1.0 - depth * (x * x + y * y) / 2.0)


def _blur(picture: Tensor, generator: Generator) -> Tensor:
    """Out of focus, or motion along a random direction."""
    count = len(picture)
    sigma = _uniform((count, 1, 1), 0.3, 1.2, generator)
    steps = torch.arange(-_REACH, _REACH + 1, device=picture.device, dtype=torch.float32)
    y, x = steps[:, None], steps[None, :]
    focus = torch.exp(-(x * x + y * y) / (2.0 * sigma * sigma))
    angle = _uniform((count, 1, 1), 0.0, math.pi, generator)
    half = _uniform((count, 1, 1), 1.0, 2.5, generator)
    along = x * angle.cos() + y * angle.sin()
    across = (y * angle.cos() - x * angle.sin()).abs()
    beyond = (along.abs() - half).clamp(min=0.0)
    motion = (1.0 - torch.hypot(across, beyond)).clamp(min=0.0)
    kernel = _where(_chance(count, 0.6, generator), focus, motion)
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    # every picture has a kernel of its own: they become the channels of one
    _, channels, height, width = picture.shape
    stacked = F.pad(picture, [_REACH] * 4, mode="replicate").view(
        1, count * channels, height + 2 * _REACH, width + 2 * _REACH
    )
    kernels = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(stacked, kernels, groups=count * channels).view(picture.shape)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * drawn


def _chance(count: int, share: float, generator: Generator) -> Tensor:
    """[count] bool, true in that share of cases."""
    return torch.rand(count, generator=generator, device=generator.device) < share


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Samples of `one` where `chosen` [B], else of `other`."""
    return torch.where(chosen.view(-1, *[1] * (one.dim() - 1)), one, other)
