"""Pictures of single frames for the report: the outputs beside the input and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.bags import Truth
from pag_ros.evaluation.results import Sample
from pag_ros.evaluation.scoring import Outputs
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
) -> Sample:
    """Colour one frame's outputs (a row of pictures for each name) and its truth; small enough
    for a page with many of them."""
    rows = {name: _row(row, manifest) for name, row in outputs.items()}
    true_row = _row(Outputs(truth.depth, truth.normals, truth.labels), manifest)
    if true_row:
        rows["ground truth"] = true_row
    return Sample(title, _small(image, cv2.INTER_AREA), rows)


def _row(outputs: Outputs, manifest: Manifest) -> dict[str, NDArray[np.uint8]]:
    row = {}
    if outputs.depth is not None:
        row["depth"] = pictures.color_depth(_small(outputs.depth), *manifest.depth_range_m)
    if outputs.normals is not None:
        row["normals"] = pictures.color_normals(_small(outputs.normals))
    if outputs.labels is not None:
        row["labels"] = pictures.color_labels(_small(outputs.labels), manifest.classes)
    if outputs.computed is not None:
        computed = _small(outputs.computed)
        row["computed"] = pictures.color_computed(computed, len(manifest.blocks))
    return row


def _small(pixels: NDArray[Any], interpolation: int = cv2.INTER_NEAREST) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    if width <= WIDTH_PX:
        return pixels
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))
