"""What a CameraInfo says of an image that came with it, for the node and for bags alike; no ROS.

sensor_msgs/CameraInfo describes the whole sensor. Its pictures may show a region of that, have
neighbouring pixels binned, and have been scaled since by whatever lies between camera and us.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pag_ros.errors import ImageError


class Region(Protocol):
    """The fields of a sensor_msgs/RegionOfInterest that are read; a size of 0 means all of it."""

    x_offset: int
    y_offset: int
    width: int
    height: int


class CameraInfo(Protocol):
    """The fields of a sensor_msgs/CameraInfo that are read, whoever deserialised it."""

    width: int
    height: int
    binning_x: int
    binning_y: int
    roi: Region
    k: Sequence[float]


_FOCAL_WIDTHS = (0.05, 50.0)
"""Focal lengths that lenses have, in widths of the picture: from 169 degrees down to 1."""

_MAX_STRETCH = 2.0
"""Of a lens that is not as long in one direction as in the other."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera: a point (x, y, z), z forward, is seen at (fx x / z + cx, fy y / z + cy).

    All in pixels; the centre of the first pixel is (0, 0).
    """

    fx: float
    fy: float
    cx: float
    cy: float


def focal_length_px(info: CameraInfo, width: int, height: int) -> float | None:
    """fx in pixels of an image, or None if the camera is not calibrated (fx is 0).

    Args:
        info: as the camera publishes it.
        width, height: of the picture that came with it, pixels.

    Raises:
        ImageError: K is no lens's; or the picture's width is scaled otherwise than its height, so
            that it does not show what `info` describes.
    """
    if info.k[0] == 0.0:
        return None
    if fault := calibration_fault(info):
        raise ImageError(f"camera_info is no calibration: {fault}")
    _require_one_scale(info, width, height)
    focal_px = float(info.k[0]) * pixel_scales(info, width, height)[0]
    return focal_px if _is_focal_length(focal_px) else None


def intrinsics(info: CameraInfo, width: int, height: int) -> Intrinsics | None:
    """The pinhole of an image, or None if the camera is not calibrated or K has no finite centre.

    A K that has fx alone describes square pixels: fy is then the same.

    Args:
        info: as the camera publishes it; its distortion is left aside.
        width, height: of the picture that came with it, pixels.

    Raises:
        ImageError: see `focal_length_px`.
    """
    fx = focal_length_px(info, width, height)
    if fx is None:
        return None
    scale_x, scale_y = pixel_scales(info, width, height)
    fy = float(info.k[4]) * scale_y
    cx = (float(info.k[2]) - info.roi.x_offset) * scale_x
    cy = (float(info.k[5]) - info.roi.y_offset) * scale_y
    if not (math.isfinite(cx) and math.isfinite(cy)):
        return None
    return Intrinsics(fx, fy if _is_focal_length(fy) else fx * scale_y / scale_x, cx, cy)


def calibration_fault(info: CameraInfo) -> str | None:
    """Why K gives no focal length; None if it does. An fy of 0 is taken to be like fx."""
    fx, fy = float(info.k[0]), float(info.k[4])
    if fx == 0.0:
        return "fx is 0: the camera is not calibrated"
    if not _is_focal_length(fx):
        return f"fx is {fx:g}"
    if fy != 0.0 and not (_is_focal_length(fy) and 1 / _MAX_STRETCH <= fx / fy <= _MAX_STRETCH):
        return f"fx is {fx:g}, fy is {fy:g}"
    low, high = _FOCAL_WIDTHS
    if info.width and not low <= fx / info.width <= high:
        return f"fx is {fx:g} pixels for a width of {info.width}"
    return None


def pixel_scales(info: CameraInfo, width: int, height: int) -> tuple[float, float]:
    """Pixels of an image [height,width] per pixel of the calibration, along x and along y.

    Without sizes in `info` nothing but binning is known.
    """
    covered_x, covered_y = _covered(info)
    return (
        width / covered_x if covered_x else 1.0 / _binning(info.binning_x),
        height / covered_y if covered_y else 1.0 / _binning(info.binning_y),
    )


def _require_one_scale(info: CameraInfo, width: int, height: int) -> None:
    """See that some scale, rounded to pixels, makes the image out of what `info` announces."""
    covered_x, covered_y = _covered(info)
    if not covered_x or not covered_y:
        return
    per_x, per_y = _binning(info.binning_x) * covered_y, _binning(info.binning_y) * covered_x
    # Each side is less than a pixel off: compared as whole numbers, without divisions.
    if (width - 1) * per_x < (height + 1) * per_y and (height - 1) * per_y < (width + 1) * per_x:
        return
    announced = f"{covered_x // _binning(info.binning_x)}x{covered_y // _binning(info.binning_y)}"
    raise ImageError(
        f"camera_info is for {announced} pixels, the image has {width}x{height}, so it was cropped "
        "or stretched, of which camera_info says nothing"
    )


def _covered(info: CameraInfo) -> tuple[int, int]:
    """Width and height of what the camera's pictures show, in pixels of the calibration."""
    return info.roi.width or info.width, info.roi.height or info.height


def _binning(stated: int) -> int:
    """sensor_msgs/CameraInfo: 0 means 1."""
    return max(stated, 1)


def _is_focal_length(focal_px: float) -> bool:
    return math.isfinite(focal_px) and bool(focal_px > 0.0)
