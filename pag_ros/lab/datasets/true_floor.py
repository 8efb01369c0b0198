"""Where a picture's camera was above the floor, as the picture's true depth tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.datasets.geometry import normals_of, rays
from pag_ros.lab.datasets.sample import Sample
from pag_ros.runtime.floor_scale import GROUND_CLASSES, MAX_HEIGHT_M, Mount, Sampled, find_up

LEAST_HEIGHT_M = 0.1
"""Of a camera above the floor, unless something better is known."""

_LEAST_SHARE = 0.01
"""Of the picture's pixels, those that make a floor."""

_MIN_COSINE = np.cos(np.radians(20.0))
"""Of the angle between a floor's pixel's normal and the vertical."""

_WIDTH = 0.05
"""Of the heights that are one plane's, relative: a depth sensor's noise, and bent floors."""

_ROUNDS = 5


@dataclass(frozen=True)
class TrueFloor:
    """The floor in a picture.

    Attributes:
        mount: of the camera above it, with height, pitch and roll.
        pixels: [H,W] bool, where it is seen.
    """

    mount: Mount
    pixels: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of the picture, 0 to 1."""
        return float(np.mean(self.pixels))


def find_true_floor(
    sample: Sample, classes: Sequence[str] = (), least_height_m: float = LEAST_HEIGHT_M
) -> TrueFloor | None:
    """Fit a plane to the lowest level surface that is large enough.

    Where the dataset has a class of ground only its pixels count. Elsewhere a table top is the
    lowest surface of pictures that show no floor: `least_height_m` keeps it out.

    Args:
        sample: with true depth.
        classes: of the dataset.
        least_height_m: that the camera is above the floor.

    Returns:
        None where the picture shows less floor than a hundredth of it.
    """
    if sample.depth is None:
        return None
    depth, is_ground = sample.depth, _is_ground(sample, classes)
    normals = sample.normals
    if normals is None:
        normals = normals_of(depth, sample.intrinsics)
    ray = rays(sample.intrinsics, (depth.shape[0], depth.shape[1]))
    flat = Sampled(ray.reshape(-1, 3), depth.ravel(), normals.reshape(-1, 3), is_ground.ravel())
    up = find_up(flat)
    if up is None:
        return None
    for _ in range(_ROUNDS):
        level = is_ground & (normals @ up > _MIN_COSINE)
        heights = depth * (ray @ -up)
        begin_m = _lowest(heights[level], least_height_m, round(_LEAST_SHARE * depth.size))
        if begin_m is None:
            return None
        inside = level & (heights >= begin_m) & (heights <= begin_m * (1.0 + _WIDTH))
        up, height_m = _plane(ray[inside], depth[inside])
    heights = depth * (ray @ -up)
    # Pixels without a normal are the floor's edges; the feet of walls have one.
    is_steep = normals @ up <= _MIN_COSINE
    pixels = is_ground & ~is_steep & (np.abs(heights / height_m - 1.0) < _WIDTH)
    return TrueFloor(Mount(height_m, (float(up[0]), float(up[1]), float(up[2]))), pixels)


def _is_ground(sample: Sample, classes: Sequence[str]) -> NDArray[np.bool_]:
    """[H,W] which pixels may be floor, by their labels."""
    ids = [number for number, name in enumerate(classes) if name in GROUND_CLASSES]
    if not ids or sample.labels is None:
        return np.ones(sample.color.shape[:2], bool)
    return np.isin(sample.labels, ids)


def _lowest(heights: NDArray[np.float32], least_m: float, pixels: int) -> float | None:
    """Where the heights (m below the camera) of the lowest surface of so many pixels begin."""
    heights = np.sort(heights[(heights >= least_m) & (heights <= MAX_HEIGHT_M)])
    ends = np.searchsorted(heights, heights * (1.0 + _WIDTH), side="right")
    counts = ends - np.arange(len(heights))
    enough = np.flatnonzero(counts >= pixels)
    if not len(enough):
        return None
    # That is its lower edge, where noise is; the plane is where most agree.
    near = enough[heights[enough] >= heights[enough[-1]] / (1.0 + _WIDTH)]
    return float(heights[near[np.argmax(counts[near])]])


def _plane(
    ray: NDArray[np.float32], depth: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    """The unit normal [3] of a plane through pixels [n], against gravity, and its distance (m).

    Inverse depth is linear in the ray on a plane, and it is what sensors of depth measure.
    """
    towards = np.linalg.lstsq(ray.astype(np.float64), 1.0 / depth, rcond=None)[0]
    length = float(np.linalg.norm(towards))
    return (-towards / length).astype(np.float32), 1.0 / length
