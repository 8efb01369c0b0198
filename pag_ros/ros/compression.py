"""Outputs as image_transport's plugins compress them, for links that cannot carry them raw."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from pag_ros.image.decode import COMPRESSED_DEPTH_HEADER
from pag_ros.ros.messages import ArrayMessage

JPEG_QUALITY = 90

PNG_LEVEL = 1
"""The quickest; every level keeps all."""

DEPTH_QUANTUM = 100.0
"""compressed_depth_image_transport's default; steps of inverse depth are 1 / (100 * 101) 1/m."""

_INVERSE_DEPTH = 0
"""Of its ConfigHeader: how the numbers behind it are to be understood."""


def jpeg_message(raw: ArrayMessage) -> ArrayMessage:
    """A picture rgb8 as JPEG."""
    bgr = np.ascontiguousarray(raw.content[..., ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return _message(raw, "jpeg compressed bgr8", data)


def png_message(raw: ArrayMessage) -> ArrayMessage:
    """A map mono8 as PNG, which loses nothing."""
    return _message(raw, "png compressed mono8", _png(raw.content))


def compressed_depth_message(raw: ArrayMessage, farthest_m: float) -> ArrayMessage:
    """Depth 16UC1 as it is, or 32FC1 as quantised inverse depth, in a PNG behind a header.

    Args:
        farthest_m: what is farther, or not known, or too near, is 0.
    """
    if raw.fields.encoding == "16UC1":
        scale, offset = 0.0, 0.0
        stored = raw.content
    else:
        scale = DEPTH_QUANTUM * (DEPTH_QUANTUM + 1.0)
        offset = 1.0 - scale / farthest_m
        depth = raw.content
        with np.errstate(divide="ignore"):
            steps = np.rint(scale / depth + offset)
        known = (depth > 0.0) & (depth <= farthest_m) & (steps <= np.iinfo(np.uint16).max)
        stored = np.where(known, steps, 0.0).astype(np.uint16)
    header = COMPRESSED_DEPTH_HEADER.pack(_INVERSE_DEPTH, scale, offset)
    data = np.concatenate((np.frombuffer(header, np.uint8), _png(stored)))
    return _message(raw, "compressedDepth png", data)


def _png(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1]
    return np.asarray(data, np.uint8).ravel()  # a column in older versions


def _message(raw: ArrayMessage, how: str, data: NDArray[Any]) -> ArrayMessage:
    format_ = f"{raw.fields.encoding}; {how}"
    return ArrayMessage(CompressedImage(header=raw.fields.header, format=format_), data)
