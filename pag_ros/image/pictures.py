"""Pictures for people: depth, normals, labels and computation as colours, and panels of them.

Every picture is [H,W,3] uint8 RGB. The command line, the node and the report all colour here, so
that one thing looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import LabelClass

Picture = NDArray[np.uint8]

NOTHING_RGB = (96, 96, 96)
"""Colour of pixels without a value."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK_RGB = (235, 235, 235)
_PAPER_RGB = (24, 24, 28)
_LINE_PX = 20
_GAP_PX = 6


def color_depth(depth: NDArray[np.float32], low_m: float, high_m: float) -> Picture:
    """Depth as colours, near red to far blue, even steps for even ratios of distance.

    Args:
        depth: [H,W] float32 metres; NaN is grey, all beyond the range takes the ends' colours.
        low_m, high_m: depths of the first and the last colour, 0 < low_m < high_m.
    """
    _check_range(low_m, high_m)
    step = np.log(np.clip(depth, low_m, high_m) / low_m) / np.log(high_m / low_m)
    picture = _turbo(1.0 - np.nan_to_num(step, nan=0.0))
    picture[np.isnan(depth)] = NOTHING_RGB
    return picture


def depth_legend(height: int, low_m: float, high_m: float) -> Picture:
    """The colour scale of `color_depth` as a strip [height,74,3] with distances in metres."""
    _check_range(low_m, high_m)
    margin = _LINE_PX // 2
    rows = np.linspace(0.0, 1.0, max(height - 2 * margin, 2), dtype=np.float32)
    strip = _paper(len(rows) + 2 * margin, 74)
    strip[margin : margin + len(rows), 6:22] = _turbo(1.0 - rows)[:, None]
    ticks = min(6, 1 + len(rows) // (2 * _LINE_PX))
    for position in np.linspace(0.0, 1.0, max(ticks, 2)):
        metres = low_m * (high_m / low_m) ** position
        y = margin + round(position * (len(rows) - 1))
        cv2.line(strip, (22, y), (26, y), _INK_RGB)
        _write(strip, f"{metres:.1f} m", 29, y + 4)
    return strip[:height]


def color_depth_error(
    depth: NDArray[np.float32], truth: NDArray[np.float32], largest_ratio: float
) -> Picture:
    """How far depth is from the truth as colours, even steps for even ratios of both.

    Args:
        depth, truth: [H,W] float32 metres; NaN in either is grey.
        largest_ratio: above 1; from it on, too far or too near, the colour is the brightest, and
            black where both are equal.
    """
    if not largest_ratio > 1.0:
        raise ValueError(f"largest_ratio must be above 1, got {largest_ratio}")
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.abs(np.log(depth / truth)) / np.log(largest_ratio)
    grey = np.clip(np.nan_to_num(step, nan=0.0), 0.0, 1.0) * 255.0 + 0.5
    picture = _color_map(grey.astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture[np.isnan(step)] = NOTHING_RGB
    return picture


def color_normals(normals: NDArray[np.float32]) -> Picture:
    """Unit normals [H,W,3] in the camera's optical frame as (n + 1) / 2 * 255; NaN is black."""
    return cv2.convertScaleAbs(normals, alpha=127.5, beta=127.5)  # type: ignore[return-value]


def color_labels(labels: NDArray[np.uint8], classes: Sequence[LabelClass]) -> Picture:
    """Class ids [H,W] in the palette's colours; ids without a class (`NO_LABEL`) are grey."""
    return palette(classes).take(labels, axis=0)


def overlay_labels(
    image: Picture,
    labels: NDArray[np.uint8],
    classes: Sequence[LabelClass],
    opacity: float = 0.6,
) -> Picture:
    """The image [H,W,3] tinted with its labels' [H,W] colours.

    Args:
        opacity: 0 shows the image alone, 1 the colours alone.
    """
    colors = color_labels(labels, classes)
    return cv2.addWeighted(colors, opacity, image, 1.0 - opacity, 0.0)  # type: ignore[return-value]


def palette(classes: Sequence[LabelClass]) -> Picture:
    """The colour of every possible label: [256,3] uint8 RGB."""
    colors = np.full((256, 3), NOTHING_RGB, np.uint8)
    for number, each in enumerate(classes):
        colors[number] = each.color
    return colors


def label_legend(
    labels: NDArray[np.uint8], classes: Sequence[LabelClass], width: int, at_most: int = 8
) -> Picture:
    """Colour patch and name of the most frequent classes in `labels`, as a strip [h,width,3]."""
    counts = np.bincount(labels.ravel(), minlength=256)[: len(classes)]
    shown = [i for i in np.argsort(-counts, kind="stable")[:at_most] if counts[i] > 0]
    column_px = 92
    columns = max(1, width // column_px)
    strip = _paper(_LINE_PX * max(1, -(-len(shown) // columns)), width)
    for place, class_id in enumerate(shown):
        row, column = divmod(place, columns)
        x, y = column * column_px + 4, row * _LINE_PX + 4
        cv2.rectangle(strip, (x, y), (x + 12, y + 12), classes[class_id].color, cv2.FILLED)
        _write(strip, classes[class_id].name, x + 17, y + 11)
    return strip


def color_probability(probability: NDArray[np.float32]) -> Picture:
    """Probabilities [H,W] in 0..1, the brighter the more likely."""
    grey = cv2.convertScaleAbs(probability, alpha=255.0)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def color_boundary(boundary: NDArray[np.float32]) -> Picture:
    """Boundary probability [H,W], dark on white as in the literature."""
    return np.asarray(255 - color_probability(boundary), np.uint8)


def color_computed(computed: NDArray[np.uint8], blocks: int) -> Picture:
    """How many of `blocks` gated blocks ran at each pixel [H,W]: dark none, bright all."""
    grey = cv2.convertScaleAbs(computed, alpha=255.0 / max(blocks, 1))
    return _color_map(np.asarray(grey, np.uint8), cv2.COLORMAP_INFERNO)


def panel(tiles: Sequence[tuple[str, Picture]], columns: int = 2) -> Picture:
    """Pictures in a grid, each under its title; rows and columns fit their largest picture."""
    if not tiles:
        raise ValueError("tiles is empty; a panel needs at least one picture")
    columns = min(columns, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    widths = [max(row[c][1].shape[1] for row in rows if c < len(row)) for c in range(columns)]
    heights = [max(picture.shape[0] for _, picture in row) for row in rows]
    canvas = _paper(
        sum(heights) + len(rows) * (_LINE_PX + _GAP_PX) + _GAP_PX,
        sum(widths) + (columns + 1) * _GAP_PX,
    )
    y = _GAP_PX
    for row, height in zip(rows, heights, strict=True):
        x = _GAP_PX
        for (title, picture), width in zip(row, widths, strict=False):
            _write(canvas, title, x, y + 14)
            top = y + _LINE_PX
            canvas[top : top + picture.shape[0], x : x + picture.shape[1]] = picture
            x += width + _GAP_PX
        y += height + _LINE_PX + _GAP_PX
    return canvas


def beside(left: Picture, right: Picture) -> Picture:
    """Two pictures next to each other, the lower one filled up below."""
    return _joined([left, right], axis=1)


def below(top: Picture, bottom: Picture) -> Picture:
    """Two pictures one above the other, the narrower one filled up on the right."""
    return _joined([top, bottom], axis=0)


def _joined(pictures: list[Picture], axis: int) -> Picture:
    size = [max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)]
    padded = []
    for picture in pictures:
        size[axis] = picture.shape[axis]
        paper = _paper(size[0], size[1])
        paper[: picture.shape[0], : picture.shape[1]] = picture
        padded.append(paper)
    return np.concatenate(padded, axis=axis)


def _turbo(values: NDArray[np.floating]) -> Picture:
    """[...] in 0..1 -> [...,3]; out of range takes the ends."""
    grey = (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return _color_map(np.atleast_2d(grey), cv2.COLORMAP_TURBO).reshape(*grey.shape, 3)


def _color_map(grey: NDArray[np.uint8], color_map: int) -> Picture:
    bgr = cv2.applyColorMap(np.ascontiguousarray(grey), color_map)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _paper(height: int, width: int) -> Picture:
    return np.full((height, width, 3), _PAPER_RGB, np.uint8)


def _write(picture: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), _FONT, 0.4, _INK_RGB, 1, cv2.LINE_AA)


def _check_range(low_m: float, high_m: float) -> None:
    if not 0.0 < low_m < high_m:
        raise ValueError(f"expected 0 < low_m < high_m, got {low_m} and {high_m}")
