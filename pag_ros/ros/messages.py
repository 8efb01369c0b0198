"""Arrays to ROS messages, as REP-117 (invalid ranges) and REP-118 (depth images) want them."""

from __future__ import annotations

import copy
import json
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import KeyValue
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from pag_ros.image.headroom import ROOM, memory_around
from pag_ros.manifest import NO_LABEL, LabelClass

_NO_DATA = struct.pack("=I", 0)
"""The length of an empty sequence in CDR."""


@dataclass(frozen=True)
class ArrayMessage:
    """A message whose `data` is an array that has not been copied into it yet.

    Attributes:
        fields: the message without its data.
        content: C-contiguous; its bytes are the data.
    """

    fields: Image | CompressedImage | PointCloud2
    content: NDArray[Any]

    def serialize(self) -> bytes | memoryview:
        """The whole message in CDR, ready to be sent.

        Nothing is copied where the content has room around it (`headroom`): there the other fields
        are written before it, so the result holds until another message is made of the same array.
        """
        fields = serialize_message(self.fields)
        # Only a cloud has a field behind its data: is_dense, one byte.
        end = len(fields) - int(isinstance(self.fields, PointCloud2))
        start = end - len(_NO_DATA)
        assert fields[start:end] == _NO_DATA
        before = fields[:start] + struct.pack("=I", self.content.nbytes)
        behind = fields[end:]
        memory = memory_around(self.content)
        if memory is None or len(before) > ROOM:
            return b"".join((before, self.content.data.cast("B"), behind))
        whole = memory.data[ROOM - len(before) : memory.size - ROOM + len(behind)]
        whole[: len(before)] = before
        whole[len(whole) - len(behind) :] = behind
        return whole

    def to_message(self) -> Image | CompressedImage | PointCloud2:
        """A message of rclpy, with its data.

        One copy, where an argument or an assignment to `data` is copied twice by rclpy, or checked
        byte by byte.
        """
        message = copy.deepcopy(self.fields)
        message.data.frombytes(self.content.data.cast("B"))
        return message


def image_message(header: Header, pixels: NDArray[np.generic], encoding: str) -> ArrayMessage:
    """An Image of [h,w] or [h,w,channels] pixels; the encoding is the caller's promise."""
    fields = Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == "big"),
        step=pixels.nbytes // pixels.shape[0],
    )
    return ArrayMessage(fields, np.ascontiguousarray(pixels))


def depth_message(
    header: Header,
    depth: NDArray[np.float32],
    encoding: str,
    nearest_m: float,
    farthest_m: float,
) -> ArrayMessage:
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
    metres = depth
    for outside, infinity in ((too_close, -np.inf), (too_far, np.inf)):
        if outside.any():  # seldom, and what is masked takes most of the time
            metres = np.where(outside, np.float32(infinity), metres)
    return image_message(header, metres, encoding)


def share_message(header: Header, share: NDArray[np.float32]) -> ArrayMessage:
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
