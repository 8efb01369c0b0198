"""Depth that one camera measured, as another one beside it sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError
from pag_ros.image.camera_info import Intrinsics

SLACK = 1.2
"""How much wider than its pixel a footprint is. Neighbouring pixels of a surface that is seen at an
angle come apart by as much: floor and a camera 0.3 m above it, two lenses 6 cm apart."""

MAX_SIDE = 64
"""Pixels of the target along which one pixel may spread, whatever the calibrations say."""

MAX_PAINTED = 100_000_000
"""Pixels of the target that all footprints may have together: four of each in the largest image."""

_BLOCK_PIXELS = 1 << 20
"""That are projected at once: in double precision they take some 100 MB."""


def register_depth(
    depth: NDArray[np.float32],
    from_camera: Intrinsics,
    to_camera: Intrinsics,
    to_shape: tuple[int, int],
    transform: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Depth of one camera as another one sees it.

    Every known pixel is moved to where the other camera sees it, and covers there what it has of
    the scene, so that a finer image has no holes between neighbours. Where several fall on one
    pixel, the nearest counts. What the first camera did not see stays unknown.

    Args:
        depth: [h,w] float32 metres along the optical axis, NaN unknown.
        from_camera, to_camera: without distortion, each in pixels of its own picture.
        to_shape: (H, W) of the other camera's picture.
        transform: [4,4] float64, takes points of the first camera's optical frame (x right, y down,
            z forward, metres) to those of the other one's.

    Returns:
        [H,W] float32 metres along the other optical axis, NaN unknown.

    Raises:
        ImageError: the cameras are so far from alike that a few pixels would fill the picture.
    """
    result = np.full(to_shape, np.inf, np.float32)
    extent = _extent(from_camera, to_camera, transform[:3, :3])
    rows = max(1, _BLOCK_PIXELS // depth.shape[1])
    painted = 0
    for top in range(0, depth.shape[0], rows):
        points = _points(depth[top : top + rows], top, from_camera)
        squares = _project(points, to_camera, to_shape, transform, extent)
        painted += int((squares.across * squares.down).sum())
        if painted > MAX_PAINTED:
            raise ImageError(
                f"depth cannot be registered: by the calibrations of both cameras its pixels cover "
                f"more than {MAX_PAINTED} pixels of the image"
            )
        _paint(result, squares)
    result[np.isinf(result)] = np.nan
    return result


@dataclass(frozen=True)
class _Squares:
    """What points cover in the target, the farthest first; [n] each.

    Attributes:
        left, top: first column and row, inside the target.
        across, down: columns and rows, 1 or more, inside the target.
        depth: float32 metres.
    """

    left: NDArray[np.int64]
    top: NDArray[np.int64]
    across: NDArray[np.int64]
    down: NDArray[np.int64]
    depth: NDArray[np.float32]


def _points(depth: NDArray[np.float32], top: int, camera: Intrinsics) -> NDArray[np.float64]:
    """[3,n] metres in the camera's frame, of the known pixels of rows from `top` on."""
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0.0))
    z = depth[rows, columns].astype(np.float64)
    x = (columns - camera.cx) / camera.fx * z
    y = (rows + top - camera.cy) / camera.fy * z
    return np.stack([x, y, z])


def _extent(
    from_camera: Intrinsics, to_camera: Intrinsics, rotation: NDArray[np.float64]
) -> tuple[float, float]:
    """Columns and rows of the target that a pixel spans at the same distance from both cameras.

    A camera that is turned about its axis sees the pixel's square turned.
    """
    turned = np.abs(rotation[:2, :2]) @ [1.0 / from_camera.fx, 1.0 / from_camera.fy]
    return to_camera.fx * float(turned[0]), to_camera.fy * float(turned[1])


def _project(
    points: NDArray[np.float64],
    camera: Intrinsics,
    shape: tuple[int, int],
    transform: NDArray[np.float64],
    extent: tuple[float, float],
) -> _Squares:
    """Where a camera sees points [3,n] of another frame, the farthest first."""
    moved = transform[:3, :3] @ points + transform[:3, 3:]
    before = moved[2] > 0.0
    (x, y, z), nearness = moved[:, before], points[2, before] / moved[2, before]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is not seen
        left, right = _span(camera.fx * x / z + camera.cx, extent[0] * nearness)
        top, bottom = _span(camera.fy * y / z + camera.cy, extent[1] * nearness)
    seen = (right >= 0) & (left < shape[1]) & (bottom >= 0) & (top < shape[0])
    farthest_first = np.flatnonzero(seen)[np.argsort(-z[seen], kind="stable")]
    left, right = _clipped(left, right, shape[1], farthest_first)
    top, bottom = _clipped(top, bottom, shape[0], farthest_first)
    return _Squares(
        left.astype(np.int64),
        top.astype(np.int64),
        (right - left).astype(np.int64) + 1,
        (bottom - top).astype(np.int64) + 1,
        z[farthest_first].astype(np.float32),
    )


def _span(
    centre: NDArray[np.float64], extent: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last pixel that a footprint covers along one axis: the nearest one at least."""
    half = np.clip(SLACK * extent, 1.0, MAX_SIDE) / 2.0
    return np.ceil(centre - half), np.floor(centre + half)


def _clipped(
    first: NDArray[np.float64], last: NDArray[np.float64], size: int, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What of some spans lies inside 0..size-1."""
    return np.maximum(first[chosen], 0), np.minimum(last[chosen], size - 1)


def _paint(result: NDArray[np.float32], squares: _Squares) -> None:
    """Put squares into a picture of the nearest depths, inf where there is none yet.

    One pixel of all squares at a time: of an index that occurs twice NumPy keeps the last value,
    which is the nearest.
    """
    flat = result.reshape(-1)
    first = squares.top * result.shape[1] + squares.left
    of_row = np.arange(first.size)
    row = 0
    while (of_row := of_row[squares.down[of_row] > row]).size:
        of_pixel, column = of_row, 0
        while (of_pixel := of_pixel[squares.across[of_pixel] > column]).size:
            places = first[of_pixel] + (row * result.shape[1] + column)
            depth = squares.depth[of_pixel]
            nearer = depth < flat[places]
            flat[places[nearer]] = depth[nearer]
            column += 1
        row += 1
