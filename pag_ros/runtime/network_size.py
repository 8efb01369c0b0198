"""A model at another input size: which sizes it can have, and what its manifest says there.

All its layers are convolutions and local choices of pixels, so the same weights serve every size.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pag_ros.errors import ModelError, ParameterError
from pag_ros.manifest import BlockSpec, Manifest

Size = tuple[int, int]
"""Width and height in pixels."""

MAX_PIXELS = 1 << 21
"""A little more than 1920x1080; the memory that a session takes grows with its pixels."""

_SIDE_PX = (16, 4096)
_STRIDES = (1, 2, 4, 8, 16, 32, 64)


def parse_size(text: str) -> Size:
    """ "320x240" -> (320, 240), width and height in pixels.

    Raises:
        ParameterError: it is written in another way, or a side is out of range.
    """
    low, high = _SIDE_PX
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not (low <= width <= high and low <= height <= high):
        raise ParameterError(f"{text!r} is not WIDTHxHEIGHT of {low} to {high} each, as in 320x240")
    return width, height


def size_text(size: Size) -> str:
    """(320, 240) -> "320x240"."""
    return f"{size[0]}x{size[1]}"


def size_of(manifest: Manifest) -> Size:
    """The model's input size."""
    return manifest.width, manifest.height


def resized(manifest: Manifest, size: Size | None) -> Manifest:
    """What a model is at another input size: grids, costs, budgets and focal lengths of that size.

    Args:
        manifest: of the model at any size.
        size: that it is to run at; None keeps its own.

    Returns:
        The manifest with the scores that were measured at that size, if there are any.

    Raises:
        ParameterError: the size is none that the strides of the blocks allow, or is too large; the
            text names those that are allowed and near.
        ModelError: a block's grid is no stride of the input.
    """
    own = size_of(manifest)
    if size is None or size == own:
        return manifest
    _check_size(manifest, size)
    scale = _scale(own, size)
    ratio = size[0] * size[1] / (own[0] * own[1])
    blocks = tuple(_resized_block(block, manifest, size) for block in manifest.blocks)
    scores = {**manifest.scores_at, size_text(own): manifest.scores}
    return replace(
        manifest,
        width=size[0],
        height=size[1],
        focal_range=(manifest.focal_range[0] * scale, manifest.focal_range[1] * scale),
        blocks=blocks,
        dense_macs=round(manifest.dense_macs * ratio),
        budgets={
            budget: tuple(
                round(pixels * new.pixels / old.pixels)
                for pixels, new, old in zip(keep, blocks, manifest.blocks, strict=True)
            )
            for budget, keep in manifest.budgets.items()
        },
        scores=scores.pop(size_text(size), {}),
        scores_at={at: rows for at, rows in scores.items() if rows},
    )


def focal_factor(exported: Manifest, wanted: Manifest) -> float:
    """What a focal length is multiplied by: the graph compares it with the width of its export.

    Args:
        exported: manifest of the size that the graph was exported for.
        wanted: manifest of the size that it runs at.
    """
    return 1.0 / _scale(size_of(exported), size_of(wanted))


def depth_factor(exported: Manifest, wanted: Manifest) -> float:
    """What the depth of a graph is multiplied by, so that it is metric at another size.

    A network that judged distances by the objects' share of the picture would need nothing, one
    that judged by their pixels the whole scale. Networks do something between, and
    `Manifest.size_exponent` says what.

    Args:
        exported: manifest of the size that the graph was exported for.
        wanted: manifest of the size that it runs at.
    """
    scale = _scale(size_of(exported), size_of(wanted))
    return float(scale**exported.size_exponent)


def scaled_size(manifest: Manifest, scale: float) -> Size:
    """So many times the input size, each side rounded up to one that the blocks' strides allow.

    Raises:
        ModelError: a block's grid is no stride of the input.
    """
    step = _step_of(manifest)
    width, height = (math.ceil(scale * side / step) * step for side in size_of(manifest))
    return width, height


def stride_of(grid: Size, image: Size) -> int | None:
    """How many pixels of the image a cell of the grid stands for along each side.

    Args:
        grid: of a map that layers of stride 2 have made of the image; each rounds up.

    Returns:
        A power of two, or None if there is none that fits both sides.
    """
    fitting = (stride for stride in _STRIDES if grid_at(stride, image) == grid)
    return next(fitting, None)


def grid_at(stride: int, image: Size) -> Size:
    """The size of a map of that stride, see `stride_of`."""
    return _ceil_divide(image[0], stride), _ceil_divide(image[1], stride)


def _scale(own: Size, size: Size) -> float:
    """How much larger a picture of the model's own shape is at another size."""
    return min(new / old for new, old in zip(size, own, strict=True))


def _check_size(manifest: Manifest, size: Size) -> None:
    step = _step_of(manifest)
    if any(side % step for side in size):
        smaller = (size[0] // step * step, size[1] // step * step)
        larger = (_ceil_divide(size[0], step) * step, _ceil_divide(size[1], step) * step)
        raise ParameterError(
            f"{size_text(size)}: {manifest.name} takes sides that are multiples of {step}; near "
            f"are {size_text(smaller)} and {size_text(larger)}"
        )
    if size[0] * size[1] > MAX_PIXELS or min(size) < _SIDE_PX[0]:
        raise ParameterError(
            f"{size_text(size)}: a network takes sides of {_SIDE_PX[0]} or more and at most "
            f"{MAX_PIXELS} pixels, such as 1920x1080"
        )


def _step_of(manifest: Manifest) -> int:
    """What the sides of the input are multiples of, so that every block's grid covers it."""
    return math.lcm(*(_stride_of_block(block, manifest) for block in manifest.blocks))


def _stride_of_block(block: BlockSpec, manifest: Manifest) -> int:
    stride = stride_of((block.width, block.height), size_of(manifest))
    if stride is None:
        raise ModelError(
            f"{manifest.name} runs at {size_text(size_of(manifest))} only: the grid of "
            f"{block.name}, {block.width}x{block.height}, is no stride of it; `pag_ros export` and "
            "`pag_ros adopt` make models of other sizes (--size)"
        )
    return stride


def _resized_block(block: BlockSpec, manifest: Manifest, size: Size) -> BlockSpec:
    width, height = grid_at(_stride_of_block(block, manifest), size)
    return replace(block, width=width, height=height)


def _ceil_divide(value: int, divisor: int) -> int:
    return -(-value // divisor)
