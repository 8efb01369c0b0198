"""Depth pictures as geometry: normals, and registration from one camera to another."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.image.camera_info import Intrinsics

EDGE_BEND = 0.04
"""Share of the inverse depth by which it may bend from pixel to pixel. It is linear on every plane,
however slanted: floors seen at a grazing angle have no edges. Sensors' steps are smaller."""


def rays(camera: Intrinsics, shape: tuple[int, int]) -> NDArray[np.float32]:
    """[H,W,3] directions through the pixels' centres with z = 1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    parts = (x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones(shape)
    return np.asarray(np.stack(parts, axis=2), np.float32)


def normals_of(
    depth: NDArray[np.float32], camera: Intrinsics, window: int = 9
) -> NDArray[np.float32]:
    """Normals of planes fitted to inverse depth in a window around each pixel.

    Inverse depth of a plane is linear in the pixel's ray, 1/z = n.ray / d, so each fit is a linear
    one with the same few sums.

    Args:
        depth: [H,W] metres, NaN = unknown.
        window: pixels along its side.

    Returns:
        [H,W,3] unit, facing the camera; NaN where the window has unknown pixels or an edge.
    """
    known = np.isfinite(depth)
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=known)
    ray = rays(camera, (depth.shape[0], depth.shape[1])).astype(np.float64)
    products = (ray[..., :, None] * ray[..., None, :]).reshape(*depth.shape, 9)
    left = _box(products, window).reshape(*depth.shape, 3, 3)
    right = _box(ray * inverse[..., None], window)
    normal = -np.linalg.solve(left, right[..., None])[..., 0]
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    unit = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    unit[~(_all_near(known, window) & ~edges(depth, window))] = np.nan
    return np.asarray(unit, np.float32)


def edges(depth: NDArray[np.float32], window: int = 5) -> NDArray[np.bool_]:
    """[H,W]: where depth [H,W] (NaN = unknown) jumps or bends sharply within a window."""
    known = np.isfinite(depth)
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=known)
    edge = np.zeros(depth.shape, np.uint8)
    for axis in (0, 1):
        before, middle, after = (_shifted(inverse, axis, step) for step in (0, 1, 2))
        bend = np.abs(before - 2.0 * middle + after) > EDGE_BEND * middle
        inner = _shifted(edge, axis, 1)
        inner |= (bend & (before > 0) & (middle > 0) & (after > 0)).astype(np.uint8)
    return np.asarray(cv2.dilate(edge, np.ones((window, window), np.uint8)) > 0)


def register(
    depth: NDArray[np.float32],
    source: Intrinsics,
    target: Intrinsics,
    shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """Depth [H,W], NaN = unknown, as another camera of the same size and orientation sees it.

    Each pixel covers 2x2 pixels of the target, so that magnifying leaves no gaps; where several
    fall on one, the nearest wins.

    Args:
        shift_m: position of the source camera in the target camera's frame.
    """
    points = rays(source, (depth.shape[0], depth.shape[1])) * depth[..., None]
    x, y, z = np.moveaxis(points[np.isfinite(depth)] + np.asarray(shift_m, np.float32), 1, 0)
    u = np.floor(target.fx * x / z + target.cx).astype(np.int64)
    v = np.floor(target.fy * y / z + target.cy).astype(np.int64)
    result = np.full(depth.shape, np.inf, np.float32)
    for dv in (0, 1):
        for du in (0, 1):
            inside = (z > 0) & (u + du >= 0) & (v + dv >= 0)
            inside &= (u + du < depth.shape[1]) & (v + dv < depth.shape[0])
            np.minimum.at(result, (v[inside] + dv, u[inside] + du), z[inside])
    return np.where(np.isfinite(result), result, np.float32(np.nan)).astype(np.float32)


def _box(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    sums = [cv2.boxFilter(values[..., i], -1, (window, window)) for i in range(values.shape[2])]
    return np.stack(sums, axis=2).astype(np.float64)


def _all_near(known: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    kernel = np.ones((window, window), np.uint8)
    return np.asarray(cv2.erode(known.astype(np.uint8), kernel) > 0)


def _shifted(pixels: NDArray[Any], axis: int, step: int) -> NDArray[Any]:
    """A view without two of the rows (axis 0) or columns, `step` of them at the start."""
    part = slice(step, max(step, pixels.shape[axis] - 2 + step))
    return pixels[part] if axis == 0 else pixels[:, part]
