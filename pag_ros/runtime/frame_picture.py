"""Everything that one frame gave, side by side in one picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.image import pictures
from pag_ros.image.pictures import Picture
from pag_ros.manifest import Manifest
from pag_ros.runtime.perception import FrameResult

_Value = TypeVar("_Value", bound=np.generic)

MAX_SIDE_PX = 2048
"""Larger frames are shown smaller: a JPEG has room for 65,500 pixels in a row, and six parts of a
frame of 24 megapixels would take gigabytes."""


def frame_picture(image: NDArray[np.uint8], result: FrameResult, manifest: Manifest) -> Picture:
    """Input, depth with its scale, normals, labels with their legend, where it was computed.

    Args:
        image: [h,w,3] uint8 RGB, what the result belongs to; shown with `MAX_SIDE_PX` at most.
        result: outputs that are None are left out.
        manifest: of the model, for depth range and classes.

    Returns:
        [H,W,3] uint8 RGB.
    """
    image, result = _shrink(image, result)
    height, width = image.shape[:2]
    tiles = [("input", image)]
    if result.depth is not None:
        low, high = manifest.depth_range_m
        legend = pictures.depth_legend(height, low, high)
        depth = pictures.color_depth(result.depth, low, high)
        tiles.append(("depth", pictures.beside(depth, legend)))
    if result.normals is not None:
        tiles.append(("normals", pictures.color_normals(result.normals)))
    if result.labels is not None:
        overlay = pictures.overlay_labels(image, result.labels, manifest.classes)
        legend = pictures.label_legend(result.labels, manifest.classes, width)
        tiles.append(("labels", pictures.below(overlay, legend)))
    if result.confidence is not None:
        confidence = pictures.color_probability(result.confidence)
        tiles.append(("confidence in the label, white = sure", confidence))
    if result.boundary is not None:
        tiles.append(("boundaries", pictures.color_boundary(result.boundary)))
    if result.computed is not None:
        computed = pictures.color_computed(result.computed, len(manifest.blocks))
        title = f"computed: {result.density:.0%} of the gated work, bright = all blocks"
        tiles.append((title, computed))
    return pictures.panel(tiles, columns=3)


def _shrink(image: NDArray[np.uint8], result: FrameResult) -> tuple[NDArray[np.uint8], FrameResult]:
    """Shrink both until their sides are `MAX_SIDE_PX` at most."""
    height, width = image.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1.0:
        return image, result
    size = (max(round(width * scale), 1), max(round(height * scale), 1))

    def pick(values: NDArray[_Value] | None) -> NDArray[_Value] | None:
        if values is None:
            return None
        return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST)  # type: ignore

    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, replace(
        result,
        depth=pick(result.depth),
        normals=pick(result.normals),
        labels=pick(result.labels),
        confidence=pick(result.confidence),
        boundary=pick(result.boundary),
        computed=pick(result.computed),
    )
