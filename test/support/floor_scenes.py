"""A floor with boxes on it before a wall, as a camera of known height sees it: exact truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.image.camera_info import Intrinsics
from pag_ros.runtime.floor_scale import Mount, Sampled

HEIGHT, WIDTH = 120, 160
CAMERA = Intrinsics(130.0, 130.0, 79.5, 59.5)
WALL, FLOOR, OBJECT = 0, 1, 2
"""Class ids, in the order of the classes "wall", "floor", "object"."""

BOXES = (
    ((0.3, 1.5, 0.0), (0.9, 2.1, 0.5)),
    ((-1.2, 2.2, 0.0), (-0.3, 2.9, 0.75)),
    ((0.5, 3.5, 0.0), (1.6, 4.2, 0.4)),
)
"""Lowest and highest corners: metres to the right, ahead and up."""

WALL_AHEAD_M = 6.0


@dataclass(frozen=True)
class FloorScene:
    """What a camera sees, and where it is.

    Attributes:
        mount: of the camera.
        rays: [H,W,3], z = 1.
        depth: [H,W] metres.
        normals: [H,W,3] unit.
        labels: [H,W] uint8.
    """

    mount: Mount
    rays: NDArray[np.float32]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def sampled(self, depth_factor: float = 1.0) -> Sampled:
        """Every pixel, with the depth as a network gives it that is wrong by a factor."""
        return Sampled(
            rays=self.rays.reshape(-1, 3),
            depth=(self.depth * np.float32(depth_factor)).ravel(),
            normals=self.normals.reshape(-1, 3),
            is_ground=(self.labels == FLOOR).ravel(),
        )


def look(
    height_m: float = 1.2,
    pitch_degrees: float = 25.0,
    roll_degrees: float = 0.0,
    camera: Intrinsics = CAMERA,
    shape: tuple[int, int] = (HEIGHT, WIDTH),
) -> FloorScene:
    """The scene from a place above the floor, in a picture of (height, width)."""
    to_world = _turn(pitch_degrees, roll_degrees)
    v, u = np.mgrid[0 : shape[0], 0 : shape[1]]
    rays = np.stack(
        [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(shape)], axis=-1
    )
    directions = rays @ to_world.T
    depth = np.full(shape, np.inf)
    normals = np.zeros((*shape, 3))
    labels = np.zeros(shape, np.uint8)
    origin = np.array([0.0, 0.0, height_m])
    for distance, normal, label in _surfaces(origin, directions):
        nearer = distance < depth
        depth[nearer], normals[nearer], labels[nearer] = distance[nearer], normal[nearer], label
    up = to_world.T @ (0.0, 0.0, 1.0)
    return FloorScene(
        Mount(height_m, (float(up[0]), float(up[1]), float(up[2]))),
        rays.astype(np.float32),
        depth.astype(np.float32),
        (normals @ to_world).astype(np.float32),
        labels,
    )


def _turn(pitch_degrees: float, roll_degrees: float) -> NDArray[np.float64]:
    """[3,3] from the optical frame to right, ahead, up."""
    pitch, roll = math.radians(pitch_degrees), math.radians(roll_degrees)
    level = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    nod = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, math.cos(pitch), math.sin(pitch)],
            [0.0, -math.sin(pitch), math.cos(pitch)],
        ]
    )
    lean = np.array(
        [
            [math.cos(roll), -math.sin(roll), 0.0],
            [math.sin(roll), math.cos(roll), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    return level @ nod @ lean


def _surfaces(origin: NDArray[np.float64], directions: NDArray[np.float64]):
    """Of the floor, the wall and each box: distances [H,W] along the rays, normals, class id."""
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = -origin[2] / directions[..., 2]
        wall = (WALL_AHEAD_M - origin[1]) / directions[..., 1]
        floor[floor <= 0.0] = wall[wall <= 0.0] = np.inf
        shape = directions.shape
        yield floor, np.broadcast_to((0.0, 0.0, 1.0), shape), FLOOR
        yield wall, np.broadcast_to((0.0, -1.0, 0.0), shape), WALL
        for low, high in BOXES:
            first, last = ((np.array(corner) - origin) / directions for corner in (low, high))
            enter = np.minimum(first, last)
            axis = enter.argmax(axis=-1)
            distance = enter.max(axis=-1)
            missed = (distance > np.maximum(first, last).min(axis=-1)) | (distance <= 0.0)
            facing = -np.sign(directions) * (np.arange(3) == axis[..., None])
            yield np.where(missed, np.inf, distance), facing, OBJECT
