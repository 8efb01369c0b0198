"""The fields of image messages that are read, whoever deserialised them: rclpy or rosbags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer, TypeIs


class CompressedPicture(Protocol):
    """A sensor_msgs/CompressedImage."""

    @property
    def format(self) -> str: ...

    @property
    def data(self) -> Buffer: ...


class RawPicture(Protocol):
    """A sensor_msgs/Image."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def encoding(self) -> str: ...

    @property
    def is_bigendian(self) -> int: ...

    @property
    def step(self) -> int: ...

    @property
    def data(self) -> Buffer: ...


Picture = RawPicture | CompressedPicture


def is_compressed(message: Picture) -> TypeIs[CompressedPicture]:
    """Whether a message is a CompressedImage, which alone has a format."""
    return hasattr(message, "format")
