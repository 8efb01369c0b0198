"""Everything that one frame gave, side by side in one picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import Manifest
from pag_ros.runtime import pictures
from pag_ros.runtime.perception import FrameResult
from pag_ros.runtime.pictures import Picture


def frame_picture(image: NDArray[np.uint8], result: FrameResult, manifest: Manifest) -> Picture:
    """Input, depth with its scale, normals, labels with their legend, where it was computed.

    Args:
        image: [h,w,3] uint8 RGB, what the result belongs to.
        result: outputs that are None are left out.
        manifest: of the model, for depth range and classes.

    Returns:
        [H,W,3] uint8 RGB.
    """
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
