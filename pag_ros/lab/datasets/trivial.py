"""Guesses of a picture's depth that need no network: what a score must beat to mean something.

Both know the picture's true median depth, which no network is told.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.datasets.sample import Sample

CAMERA_HEIGHT_M = 1.4


def constant(sample: Sample, median_m: float) -> NDArray[np.float32]:
    """[H,W]: everything at the true median."""
    return np.full(sample.color.shape[:2], median_m, np.float32)


def floor_and_wall(sample: Sample, median_m: float) -> NDArray[np.float32]:
    """[H,W]: a floor below a level camera at `CAMERA_HEIGHT_M`, up to a wall at the median."""
    height, width = sample.color.shape[:2]
    below = np.arange(height) + 0.5 - height / 2.0
    floor = np.full(height, np.inf)
    np.divide(CAMERA_HEIGHT_M * sample.focal_px, below, out=floor, where=below > 0)
    column = np.minimum(floor, median_m).astype(np.float32)
    return np.repeat(column[:, None], width, axis=1)


TRIVIAL: dict[str, Callable[[Sample, float], NDArray[np.float32]]] = {
    "constant": constant,
    "floor and wall": floor_and_wall,
}
