"""A CameraInfo for people, and CameraInfo messages for the node's outputs."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from pag_ros.image.camera_info import calibration_fault, pixel_scales


def described(info: CameraInfo) -> str | None:
    """A calibration for people, "640x480, fx 525"; None if there is none."""
    if calibration_fault(info) is not None:
        return None
    return f"{info.width}x{info.height}, fx {info.k[0]:g}"


def camera_info_for(info: CameraInfo, header: Header, width: int, height: int) -> CameraInfo:
    """The CameraInfo of an output image that shows the same field as the camera's picture.

    K and P are rescaled if the output's size differs from what `info` announces.

    Args:
        info: of the camera.
        header: of the camera's picture.
        width, height: of the output, pixels.
    """
    scale_x, scale_y = pixel_scales(info, width, height)
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
