"""A frame as points in space, each with its colour, its normal and its label."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from pag_ros.image.headroom import empty_with_room
from pag_ros.ros.messages import ArrayMessage

_FLOAT, _UINT = PointField.FLOAT32, PointField.UINT32
_POSITION = {"x": _FLOAT, "y": _FLOAT, "z": _FLOAT, "rgb": _FLOAT}
_NORMAL = {"normal_x": _FLOAT, "normal_y": _FLOAT, "normal_z": _FLOAT}
_LABEL = {"label": _UINT}
_WORD_BYTES = 4


def points_message(
    header: Header,
    info: CameraInfo,
    image: NDArray[np.uint8],
    depth: NDArray[np.float32],
    depth_range_m: tuple[float, float],
    normals: NDArray[np.float32] | None = None,
    labels: NDArray[np.uint8] | None = None,
    stride: int = 1,
) -> ArrayMessage:
    """An organised cloud in the camera's optical frame (REP-103).

    It has a point for every pixel, or for every `stride`th each way.

    Field names and types are those of the Point Cloud Library: x, y, z in metres, rgb packed into
    a float as 0x00RRGGBB, normal_x, normal_y, normal_z, and label. The camera is a pinhole; what a
    lens distorts, a rectified picture has to have undone.

    Args:
        header: of the camera's picture.
        info: calibration at the size of the picture.
        image: [h,w,3] RGB.
        depth: [h,w] metres along the optical axis, NaN unknown.
        depth_range_m: nearest and farthest trusted depth; other points are NaN, as REP-117 has no
            other sign for them in a cloud.
        normals: [h,w,3] unit, or None for a cloud without.
        labels: [h,w] class ids, or None for a cloud without.
        stride: rows and columns from one point to the next, 1 or more.
    """
    every = np.s_[::stride, ::stride]
    image, depth = image[every], depth[every]
    fields = _POSITION | (_NORMAL if normals is not None else {})
    fields |= _LABEL if labels is not None else {}
    height, width = depth.shape
    words = empty_with_room((height, width, len(fields)), np.float32)
    integers = words.view(np.uint32)
    _place(words[..., :3], info, depth, depth_range_m, stride)
    red, green, blue = (image[..., c].astype(np.uint32) for c in range(3))
    integers[..., 3] = red << 16 | green << 8 | blue
    if normals is not None:
        words[..., 4:7] = normals[every]
    if labels is not None:
        integers[..., -1] = labels[every]
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=[
            PointField(name=name, offset=_WORD_BYTES * i, datatype=kind, count=1)
            for i, (name, kind) in enumerate(fields.items())
        ],
        is_bigendian=sys.byteorder == "big",
        point_step=_WORD_BYTES * len(fields),
        row_step=_WORD_BYTES * len(fields) * width,
        is_dense=False,
    )
    return ArrayMessage(cloud, words)


def _place(
    points: NDArray[np.float32],
    info: CameraInfo,
    depth: NDArray[np.float32],
    depth_range_m: tuple[float, float],
    stride: int,
) -> None:
    """Fill in [h,w,3] points of a pinhole camera, NaN outside the range."""
    rows, columns = (stride * np.arange(side, dtype=np.float32) for side in depth.shape)
    fx, fy, cx, cy = (np.float32(info.k[i]) for i in (0, 4, 2, 5))
    nearest_m, farthest_m = depth_range_m
    z = np.where((depth >= nearest_m) & (depth <= farthest_m), depth, np.float32(np.nan))
    points[..., 0] = z * ((columns - cx) / fx)
    points[..., 1] = z * ((rows - cy) / fy)[:, None]
    points[..., 2] = z
