"""Outputs as image_transport's plugins compress them, for links that cannot carry them raw."""

from __future__ import annotations

import sys
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from pag_ros.image.decode import COMPRESSED_DEPTH_HEADER
from pag_ros.ros.messages import append_data

_Value = TypeVar("_Value", np.uint8, np.uint16, np.float32)

JPEG_QUALITY = 90

PNG_LEVEL = 1
"""The quickest; every level keeps all."""

DEPTH_QUANTUM = 100.0
"""compressed_depth_image_transport's default; steps of inverse depth are 1 / (100 * 101) 1/m."""

_INVERSE_DEPTH = 0
"""Of its ConfigHeader: how the numbers behind it are to be understood."""


def jpeg_message(message: Image) -> CompressedImage:
    """A picture rgb8 as JPEG."""
    bgr = np.ascontiguousarray(_pixels(message, np.uint8, 3)[..., ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return _message(message, f"{message.encoding}; jpeg compressed bgr8", data)


def png_message(message: Image) -> CompressedImage:
    """A map mono8 as PNG, which loses nothing."""
    return _message(
        message, f"{message.encoding}; png compressed mono8", _png(_pixels(message, np.uint8, 1))
    )


def compressed_depth_message(message: Image, farthest_m: float) -> CompressedImage:
    """Depth 16UC1 as it is, or 32FC1 as quantised inverse depth, in a PNG behind a header.

    Args:
        farthest_m: what is farther, or not known, or too near, is 0.
    """
    if message.encoding == "16UC1":
        scale, offset = 0.0, 0.0
        stored = _pixels(message, np.uint16, 1)
    else:
        scale = DEPTH_QUANTUM * (DEPTH_QUANTUM + 1.0)
        offset = 1.0 - scale / farthest_m
        depth = _pixels(message, np.float32, 1)
        with np.errstate(divide="ignore"):
            steps = np.rint(scale / depth + offset)
        known = (depth > 0.0) & (depth <= farthest_m) & (steps <= np.iinfo(np.uint16).max)
        stored = np.where(known, steps, 0.0).astype(np.uint16)
    header = COMPRESSED_DEPTH_HEADER.pack(_INVERSE_DEPTH, scale, offset)
    return _message(message, f"{message.encoding}; compressedDepth png", _png(stored), header)


def _pixels(message: Image, dtype: type[_Value], channels: int) -> NDArray[_Value]:
    """The pixels of one of our own messages, whose rows have no padding."""
    assert message.is_bigendian == int(sys.byteorder == "big")
    shape = (message.height, message.width, channels)
    return np.frombuffer(message.data, dtype).reshape(shape[: 2 if channels == 1 else 3])


def _png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1]
    return np.asarray(data, np.uint8)


def _message(
    raw: Image, format_: str, data: NDArray[np.uint8], header: bytes = b""
) -> CompressedImage:
    message = CompressedImage(header=raw.header, format=format_)
    message.data.frombytes(header)
    append_data(message, data)
    return message
