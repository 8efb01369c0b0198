"""Camera calibration as the node needs it: the focal length, and CameraInfo for its outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header


def focal_length_px(info: CameraInfo, image_width: int) -> float | None:
    """fx in pixels of an image, or None if the camera is not calibrated (K all zero).

    Args:
        info: as the camera publishes it, for full resolution, with binning and region of interest.
        image_width: of the picture that came with it, which may have been scaled since.
    """
    if not is_calibrated(info):
        return None
    return float(info.k[0]) * _scale(info.width, info.roi.width, info.binning_x, image_width)


def described(info: CameraInfo) -> str | None:
    """A calibration for people, "640x480, fx 525"; None if there is none."""
    return f"{info.width}x{info.height}, fx {info.k[0]:g}" if is_calibrated(info) else None


def camera_info_for(info: CameraInfo, header: Header, width: int, height: int) -> CameraInfo:
    """The CameraInfo of an output image that shows the same field as the camera's picture.

    K and P are rescaled if the output's size differs from what `info` announces.

    Args:
        info: of the camera.
        header: of the camera's picture.
        width, height: of the output, pixels.
    """
    scale_x = _scale(info.width, info.roi.width, info.binning_x, width)
    scale_y = _scale(info.height, info.roi.height, info.binning_y, height)
    twin = CameraInfo(
        header=header,
        distortion_model=info.distortion_model,
        d=info.d,
        r=info.r,
        width=width,
        height=height,
        roi=RegionOfInterest(do_rectify=info.roi.do_rectify),
    )
    shift = np.array([[1.0, 0.0, -info.roi.x_offset], [0.0, 1.0, -info.roi.y_offset], [0, 0, 1.0]])
    resize = np.diag([scale_x, scale_y, 1.0]) @ shift
    twin.k = (resize @ np.reshape(info.k, (3, 3))).ravel()
    twin.p = (resize @ np.reshape(info.p, (3, 4))).ravel()
    return twin


def is_calibrated(info: CameraInfo) -> bool:
    """Whether it says anything: K is all zero for a camera that is not calibrated."""
    return math.isfinite(info.k[0]) and bool(info.k[0] > 0.0)


def _scale(full: int, region: int, binning: int, actual: int) -> float:
    """Output pixels per pixel of the calibration, along one axis.

    sensor_msgs/CameraInfo: a region of 0 means all of it; without sizes nothing but binning is
    known.
    """
    covered: Any = region or full
    return actual / covered if covered else 1.0 / max(binning, 1)
