"""A pinhole camera in the world: intrinsics, pose and the rays of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pag_ros.lab.scenes.mesh import FloatArray, cross


@dataclass(frozen=True)
class SceneCamera:
    """A pinhole camera; pixels, the centre of the first pixel is (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


@dataclass(frozen=True)
class Pose:
    """Where a camera is. position [3] m; rotation [3,3]: columns are its right, down, forward."""

    position: FloatArray
    rotation: FloatArray


def look_at(position: np.ndarray, target: np.ndarray, roll: float = 0.0) -> Pose:
    """A pose that looks from one point to another, the picture upright but for `roll` (rad)."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = cross(forward, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right)
    down = cross(forward, right)
    turned_right = np.cos(roll) * right + np.sin(roll) * down
    turned_down = np.cos(roll) * down - np.sin(roll) * right
    rotation = np.stack([turned_right, turned_down, forward], 1)
    return Pose(position.astype(np.float32), rotation.astype(np.float32))


def pixel_rays(
    camera: SceneCamera, pose: Pose, columns: FloatArray, rows: FloatArray
) -> FloatArray:
    """[N,3] world directions through pixel coordinates [N]; whole numbers are pixel centres.

    Their length is one along the optical axis, so that distance along a ray is depth.
    """
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    axes = [x * right + y * down + forward for right, down, forward in pose.rotation]
    return np.stack(axes, 1).astype(np.float32, copy=False)
