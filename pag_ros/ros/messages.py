"""Arrays to ROS messages, as REP-117 (invalid ranges) and REP-118 (depth images) want them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from diagnostic_msgs.msg import KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from pag_ros.manifest import NO_LABEL, LabelClass


def image_message(header: Header, pixels: NDArray[np.generic], encoding: str) -> Image:
    """An Image of [h,w] or [h,w,channels] pixels; the encoding is the caller's promise."""
    message = Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.nbytes // pixels.shape[0],
    )
    append_data(message, pixels)
    return message


def append_data(
    message: Image | CompressedImage | PointCloud2, content: NDArray[np.generic]
) -> None:
    """Put the bytes of an array at the end of a message's data.

    One copy, where an argument or an assignment to `data` is copied twice by rclpy, or checked byte
    by byte.
    """
    message.data.frombytes(np.ascontiguousarray(content).data.cast("B"))


def depth_message(
    header: Header,
    depth: NDArray[np.float32],
    encoding: str,
    nearest_m: float,
    farthest_m: float,
) -> Image:
    """Depth along the optical axis, invalid where the network cannot know it.

    Args:
        depth: [h,w] metres, NaN invalid.
        encoding: "32FC1", metres: -Inf too close, +Inf too far, NaN invalid (REP-117);
            or "16UC1", millimetres: 0 for all three (REP-118).
        nearest_m, farthest_m: the trusted range.
    """
    too_close, too_far = depth < nearest_m, depth > farthest_m
    if encoding == "16UC1":
        trusted = ~(too_close | too_far) & (depth <= 65.535)
        millimetres = np.where(trusted, depth * 1e3 + 0.5, 0.0)
        return image_message(header, millimetres.astype(np.uint16), encoding)
    metres = depth.copy()
    np.copyto(metres, np.float32(-np.inf), where=too_close)
    np.copyto(metres, np.float32(np.inf), where=too_far)
    return image_message(header, metres, encoding)


def share_message(header: Header, share: NDArray[np.float32]) -> Image:
    """Values of 0 to 1 as mono8, 0 to 255."""
    return image_message(header, np.asarray(cv2.convertScaleAbs(share, alpha=255.0)), "mono8")


def labels_json(classes: Sequence[LabelClass]) -> str:
    """The classes for programs: ids, names, colours, and the id of no class at all."""
    listed = [{"id": i, "name": c.name, "color": c.color} for i, c in enumerate(classes)]
    return json.dumps({"classes": listed, "unlabelled": NO_LABEL})


def key_values(values: Mapping[str, object]) -> list[KeyValue]:
    """Diagnostic values; numbers in as few digits as say something, None as n/a."""
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def _text(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
