"""The fields of camera pictures' messages that are read, whoever deserialised them; no ROS.

Data may be an array of NumPy's as well, which its types call a buffer only from Python 3.12 on.
"""

from __future__ import annotations

from array import array
from typing import Protocol


class TimeStamp(Protocol):
    """A builtin_interfaces/Time."""

    sec: int
    nanosec: int


class MessageHeader(Protocol):
    """A std_msgs/Header."""

    stamp: TimeStamp
    frame_id: str


class ImageMessage(Protocol):
    """A sensor_msgs/Image."""

    header: MessageHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes | memoryview | array[int]


class CompressedImageMessage(Protocol):
    """A sensor_msgs/CompressedImage."""

    header: MessageHeader
    format: str
    data: bytes | memoryview | array[int]


PictureMessage = ImageMessage | CompressedImageMessage
"""What a camera may send."""
