"""Pictures of single frames for the report: the outputs beside the input and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.results import FramePictures
from pag_ros.evaluation.scoring import Outputs
from pag_ros.evaluation.truth import Truth
from pag_ros.image import pictures
from pag_ros.manifest import Manifest

SAMPLES = 8
WIDTH_PX = 360


def spread(count: int, samples: int = SAMPLES) -> frozenset[int]:
    """At most `samples` indices of `count` frames, evenly spaced, first and last among them."""
    if count <= samples:
        return frozenset(range(count))
    return frozenset(int(i) for i in np.linspace(0, count - 1, samples))


def make_sample(
    title: str,
    image: NDArray[np.uint8],
    outputs: Mapping[str, Outputs],
    truth: Truth,
    manifest: Manifest,
) -> FramePictures:
    """Colour one frame's outputs (a row of pictures for each name) and its truth; small enough
    for a page with many of them."""
    rows = {name: color_outputs(row, manifest, small) for name, row in outputs.items()}
    true_row = color_outputs(_as_outputs(truth), manifest, small)
    if true_row:
        rows["ground truth"] = true_row
    return FramePictures(title, small(image, cv2.INTER_AREA), rows)


def color_outputs(
    outputs: Outputs, manifest: Manifest, resize: Callable[[NDArray[Any]], NDArray[Any]]
) -> dict[str, NDArray[np.uint8]]:
    """Caption -> picture of each output that there is.

    Args:
        manifest: for the range of the depth, the classes and the number of blocks.
        resize: brings a map to the pictures' size, without mixing its pixels.
    """
    row = {}
    if outputs.depth is not None:
        row["depth"] = pictures.color_depth(resize(outputs.depth), *manifest.depth_range_m)
    if outputs.normals is not None:
        row["normals"] = pictures.color_normals(resize(outputs.normals))
    if outputs.labels is not None:
        row["labels"] = pictures.color_labels(resize(outputs.labels), manifest.classes)
    if outputs.boundary is not None:
        row["boundary"] = pictures.color_boundary(resize(outputs.boundary))
    if outputs.computed is not None:
        computed = resize(outputs.computed)
        row["computed"] = pictures.color_computed(computed, len(manifest.blocks))
    return row


def _as_outputs(truth: Truth) -> Outputs:
    """The truth as a network would give it; of boundaries, the share of annotators."""
    drawn = truth.boundary
    boundary = None if drawn is None else drawn.mean(axis=0, dtype=np.float32)
    return Outputs(truth.depth, truth.normals, truth.labels, boundary)


def small(pixels: NDArray[Any], interpolation: int = cv2.INTER_NEAREST) -> NDArray[Any]:
    """A picture or map [h,w,...] at a width of `WIDTH_PX` if it is wider."""
    height, width = pixels.shape[:2]
    if width <= WIDTH_PX:
        return pixels
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))
