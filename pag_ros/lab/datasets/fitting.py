"""Brings a sample to another size, its truth with it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.image.letterbox import Letterbox
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import NO_LABEL


def fit(sample: Sample, size: tuple[int, int]) -> Sample:
    """Bring to (width, height) as the node does, with grey bars where the aspect ratio differs.

    The truth is resized by nearest pixels, and is unknown in the bars.
    """
    camera = sample.color.shape[0], sample.color.shape[1]
    box = Letterbox.fit(camera, (size[1], size[0]))
    if camera == box.network:
        return sample
    depth, normals, labels, lines = sample.depth, sample.normals, sample.labels, sample.boundary
    runner_up = sample.runner_up
    return replace(
        sample,
        color=box.shrink(sample.color),
        depth=None if depth is None else box.shrink_truth(depth, np.nan),
        normals=None if normals is None else box.shrink_truth(normals, np.nan),
        labels=None if labels is None else box.shrink_truth(labels, NO_LABEL),
        runner_up=None if runner_up is None else box.shrink_truth(runner_up, NO_LABEL),
        boundary=None if lines is None else np.stack([_fit_lines(one, box) for one in lines]),
        focal_px=sample.focal_px * box.scale,
    )


def _fit_lines(lines: NDArray[np.bool_], box: Letterbox) -> NDArray[np.bool_]:
    """An annotator's lines [H,W] at another size; nearest pixels would tear them."""
    size = (box.width, box.height)
    fitted = np.zeros(box.network, bool)
    resized = cv2.resize(lines.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    fitted[box.inside] = np.asarray(resized) > 0
    return fitted
