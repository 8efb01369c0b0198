"""How large the depth of a picture should be, as its floor tells: the camera's height is known.

Every pixel of the floor gives a ratio: the camera's height by its own distance below the camera.
What agrees on a ratio is the floor; whatever else was taken for it, a table top or a wall, does not
agree, or has another normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError, ParameterError

MAX_HEIGHT_M = 100.0
"""Of a camera above the ground."""

FACTOR_RANGE = (0.4, 2.5)
"""Factors beyond tell of a wrong height, or of something that is no floor."""

GROUND_CLASSES = frozenset({"floor", "ground", "road"})
"""Names of classes that the camera's height is measured from."""

MIN_PIXELS = 40
"""Sampled pixels that must agree."""

MIN_SHARE = 0.01
"""Of the sampled pixels, those that must agree."""

MIN_AGREEMENT = 0.5
"""Of what looks like floor, the weight that must agree: half of it is more than anything else."""

FULL_SHARE = 0.1
"""Share of the picture from which on more floor makes no difference to the confidence."""

USUAL_SPREAD = 0.1
"""Spread of the ratios (of their logarithms) at which the confidence is halved."""

_MAX_TILT_DEGREES = 20.0
"""Between a pixel's normal and the vertical; the network's are off by 9 degrees in the median."""

_UPRIGHT_DEGREES = 60.0
"""Between the picture's own vertical and the floor's normal, where nothing tells how the camera is
mounted: nearer to the optical axis lie the normals of walls."""

_MIN_DESCENT = math.sin(math.radians(5.0))
"""Sine of a ray's angle below the horizon: flatter ones say little of the height."""

_DEPTH_NOISE = 0.1
"""Of a pixel's depth, relative."""

_TILT_NOISE = math.radians(2.0)
"""Of the vertical: what a ratio loses by it grows with the distance along the floor."""

_AGREEMENT_WIDTH = 0.3
"""Width of the window of ratios (of their logarithms) that agree with each other."""

_UP_ROUNDS = 3


@dataclass(frozen=True)
class Mount:
    """Where a camera is above the floor.

    Attributes:
        height_m: of its optical centre.
        up: unit vector against gravity in its optical frame (x right, y down, z forward); None
            where it is not known, and has to be found in every picture.
    """

    height_m: float
    up: tuple[float, float, float] | None = None

    @classmethod
    def pitched(cls, height_m: float, pitch_degrees: float | None) -> Mount:
        """For a camera that is not rolled and looks `pitch_degrees` below the horizon.

        Raises:
            ParameterError: the height or the pitch is out of range.
        """
        if not 0.0 < height_m <= MAX_HEIGHT_M:
            raise ParameterError(
                f"the camera's height must lie above 0, at most {MAX_HEIGHT_M:g} m, "
                f"got {height_m:g}"
            )
        if pitch_degrees is None:
            return cls(height_m)
        if not -90.0 < pitch_degrees <= 90.0:
            raise ParameterError(
                "the camera's pitch must lie above -90, at most 90 degrees below the horizon, "
                f"got {pitch_degrees:g}"
            )
        pitch = math.radians(pitch_degrees)
        return cls(height_m, (0.0, -math.cos(pitch), -math.sin(pitch)))

    @classmethod
    def on_ground(cls, to_ground: NDArray[np.float64]) -> Mount:
        """For a camera whose place is known in a frame on the ground, z up.

        Args:
            to_ground: [4,4], takes points of the camera's optical frame there.

        Raises:
            ImageError: the camera is not above the ground.
        """
        height_m = float(to_ground[2, 3])
        if not 0.0 < height_m <= MAX_HEIGHT_M:
            raise ImageError(
                f"the camera is {height_m:g} m above the ground frame, expected above 0, "
                f"at most {MAX_HEIGHT_M:g} m"
            )
        right, down, forward = (float(part) for part in to_ground[2, :3])
        return cls(height_m, (right, down, forward))


@dataclass(frozen=True)
class Sampled:
    """Some pixels of a picture, n of them.

    Attributes:
        rays: [n,3] float32, of the pixels in the camera's optical frame, z = 1.
        depth: [n] float32 metres, NaN unknown.
        normals: [n,3] float32 unit, facing the camera; NaN unknown.
        is_ground: [n] bool, by their labels.
    """

    rays: NDArray[np.float32]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    is_ground: NDArray[np.bool_]


@dataclass(frozen=True)
class FloorSighting:
    """What the floor in one picture says of the depth.

    Attributes:
        factor: of the depth, so that the floor is at its height.
        pixels: sampled pixels that agree on it.
        share: of all that were sampled, 0 to 1.
        agreement: weight of these pixels among all that look like floor, 0 to 1.
        spread: standard deviation of the logarithms of their ratios.
    """

    factor: float
    pixels: int
    share: float
    agreement: float
    spread: float

    @property
    def is_plausible(self) -> bool:
        """Whether the factor is one that a network may need."""
        low, high = FACTOR_RANGE
        return low <= self.factor <= high

    @property
    def confidence(self) -> float:
        """How much to believe it, 0 to 1: much floor, of one mind."""
        seen = min(1.0, self.share / FULL_SHARE)
        return seen * self.agreement / (1.0 + (self.spread / USUAL_SPREAD) ** 2)


def sight_floor(sampled: Sampled, mount: Mount) -> FloorSighting | None:
    """Find the factor of the depth that puts the floor at its height below the camera.

    Returns:
        The factor, plausible or not; None where too little floor is seen, or it disagrees.
    """
    up = find_up(sampled) if mount.up is None else np.asarray(mount.up, np.float32)
    if up is None:
        return None
    descent = sampled.rays @ -up
    sine = descent / np.linalg.norm(sampled.rays, axis=1)
    is_floor = sampled.is_ground & (sampled.normals @ up > _cosine(_MAX_TILT_DEGREES))
    is_floor &= (sine > _MIN_DESCENT) & (sampled.depth > 0.0) & np.isfinite(sampled.depth)
    if np.count_nonzero(is_floor) < MIN_PIXELS:
        return None
    ratios = np.log(mount.height_m / (sampled.depth[is_floor] * descent[is_floor]))
    cotangent_squared = 1.0 / np.square(sine[is_floor]) - 1.0
    weights = 1.0 / (_DEPTH_NOISE**2 + _TILT_NOISE**2 * cotangent_squared)
    return _agreed(ratios, weights, len(sampled.depth))


def _agreed(
    ratios: NDArray[np.float32], weights: NDArray[np.float32], sampled: int
) -> FloorSighting | None:
    """The densest window of logarithmic ratios; None if it is too small a part of them."""
    order = np.argsort(ratios)
    ratios, weights = ratios[order].astype(np.float64), weights[order].astype(np.float64)
    ends = np.searchsorted(ratios, ratios + _AGREEMENT_WIDTH, side="right")
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    begin = int(np.argmax(sums[ends] - sums[:-1]))
    inliers = slice(begin, int(ends[begin]))
    pixels = inliers.stop - inliers.start
    agreement = float((sums[inliers.stop] - sums[begin]) / sums[-1])
    if pixels < max(MIN_PIXELS, MIN_SHARE * sampled) or agreement < MIN_AGREEMENT:
        return None
    mean = float(np.average(ratios[inliers], weights=weights[inliers]))
    variance = float(np.average(np.square(ratios[inliers] - mean), weights=weights[inliers]))
    return FloorSighting(math.exp(mean), pixels, pixels / sampled, agreement, math.sqrt(variance))


def find_up(sampled: Sampled) -> NDArray[np.float32] | None:
    """[3] the direction that most normals of the floor share; None where there are too few.

    The camera is taken to be upright, up to 60 degrees.
    """
    upright = sampled.normals[:, 1] < -_cosine(_UPRIGHT_DEGREES)
    normals = sampled.normals[sampled.is_ground & upright]
    near = normals
    for _ in range(_UP_ROUNDS):
        if len(near) < MIN_PIXELS:
            return None
        mean: NDArray[np.float32] = near.mean(axis=0)
        up: NDArray[np.float32] = mean / np.linalg.norm(mean)
        near = normals[normals @ up > _cosine(_MAX_TILT_DEGREES)]
    return up


def _cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))
