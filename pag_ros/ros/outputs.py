"""The topics that carry a frame's results: what each needs, and how its message is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from pag_ros.image.letterbox import resized_picture
from pag_ros.image.pictures import color_normals, overlay_labels
from pag_ros.manifest import LabelClass, Manifest
from pag_ros.ros.camera_info import camera_info_for
from pag_ros.ros.compression import compressed_depth_message, jpeg_message, png_message
from pag_ros.ros.messages import ArrayMessage, depth_message, image_message, share_message
from pag_ros.ros.points import points_message
from pag_ros.ros.topics import MAP_TOPICS
from pag_ros.runtime import FrameResult
from pag_ros.runtime.outputs import maps_of


@dataclass(frozen=True)
class Finished:
    """A frame with its results, all that a message may be made of.

    Attributes:
        header: of the camera's picture; goes into every output unchanged.
        image: [h,w,3] uint8 RGB.
        info: of the camera, None if none has come.
        result: of the network.
    """

    header: Header
    image: NDArray[np.uint8]
    info: CameraInfo | None
    result: FrameResult

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """[h,w,3] the image at the size of the outputs."""
        return resized_picture(self.image, *self.result.size)


@dataclass(frozen=True)
class Style:
    """How results are presented.

    Attributes:
        depth_encoding: 32FC1 or 16UC1.
        depth_range_m: nearest and farthest trusted depth.
        classes: names and colours of the labels.
        points_stride: every so manieth row and column is in the cloud.
    """

    depth_encoding: str
    depth_range_m: tuple[float, float]
    classes: tuple[LabelClass, ...]
    points_stride: int = 1


@dataclass(frozen=True)
class OutputTopic:
    """One topic.

    Attributes:
        message_type: class of its messages.
        render: makes the message; None when this frame has none.
        needs: the outputs of `Perception.process` that it cannot do without; none if it only
            accompanies others and is no reason to compute anything.
        shows: further ones that it shows if the model has them.
        metric: whether it makes sense only with the camera's focal length.
    """

    message_type: type
    render: Callable[[Finished, Style], ArrayMessage | CameraInfo | None]
    needs: frozenset[str] = frozenset()
    shows: frozenset[str] = frozenset()
    metric: bool = False


def outputs_of(manifest: Manifest) -> dict[str, OutputTopic]:
    """The topics a model can serve, by name; a camera_info only beside a map that it describes."""
    maps = maps_of(manifest)
    served = {name: output for name, output in OUTPUTS.items() if output.needs <= maps}
    described = {_folder(name) for name, output in served.items() if output.needs}
    return {name: output for name, output in served.items() if _folder(name) in described}


def _folder(topic: str) -> str:
    """ "depth/camera_info" -> "depth"."""
    return topic.partition("/")[0]


def maps_shown(topics: frozenset[str], manifest: Manifest) -> frozenset[str]:
    """What the model must deliver for these topics, as `Perception.process` wants it."""
    outputs = [OUTPUTS[name] for name in topics if name in OUTPUTS]
    shown = frozenset[str]().union(*(output.needs | output.shows for output in outputs))
    return shown & maps_of(manifest)


Part = TypeVar("Part")


def _require_part(part: Part | None) -> Part:
    """Narrow the type: a part of the result is there, since the output's `needs` asked for it."""
    assert part is not None
    return part


def _depth(frame: Finished, style: Style) -> ArrayMessage:
    return depth_message(
        frame.header, _require_part(frame.result.depth), style.depth_encoding, *style.depth_range_m
    )


def _normals(frame: Finished, style: Style) -> ArrayMessage:
    return image_message(frame.header, _require_part(frame.result.normals), "32FC3")


def _normals_color(frame: Finished, style: Style) -> ArrayMessage:
    return image_message(frame.header, color_normals(_require_part(frame.result.normals)), "rgb8")


def _mask(frame: Finished, style: Style) -> ArrayMessage:
    return image_message(frame.header, _require_part(frame.result.labels), "mono8")


def _confidence(frame: Finished, style: Style) -> ArrayMessage:
    return share_message(frame.header, _require_part(frame.result.confidence))


def _mask_color(frame: Finished, style: Style) -> ArrayMessage:
    overlay = overlay_labels(frame.picture, _require_part(frame.result.labels), style.classes)
    return image_message(frame.header, overlay, "rgb8")


def _boundary(frame: Finished, style: Style) -> ArrayMessage:
    return image_message(frame.header, _require_part(frame.result.boundary), "32FC1")


def _computed(frame: Finished, style: Style) -> ArrayMessage:
    return image_message(frame.header, _require_part(frame.result.computed), "mono8")


def _points(frame: Finished, style: Style) -> ArrayMessage | None:
    info = _camera_info(frame, style)
    if info is None:
        return None
    result = frame.result
    return points_message(
        frame.header,
        info,
        frame.picture,
        _require_part(result.depth),
        style.depth_range_m,
        result.normals,
        result.labels,
        style.points_stride,
    )


def _camera_info(frame: Finished, style: Style) -> CameraInfo | None:
    if frame.info is None:
        return None
    height, width = frame.result.size
    return camera_info_for(frame.info, frame.header, width, height)


def _compressed(
    output: OutputTopic, compress: Callable[[ArrayMessage], ArrayMessage]
) -> OutputTopic:
    """The same picture, compressed."""

    def render(frame: Finished, style: Style) -> ArrayMessage:
        raw = output.render(frame, style)
        assert isinstance(raw, ArrayMessage)
        return compress(raw)

    return replace(output, message_type=CompressedImage, render=render)


def _compressed_depth(frame: Finished, style: Style) -> ArrayMessage:
    return compressed_depth_message(_depth(frame, style), style.depth_range_m[1])


_RAW: Mapping[str, OutputTopic] = {
    MAP_TOPICS["depth"]: OutputTopic(Image, _depth, needs=frozenset({"depth"}), metric=True),
    "depth/camera_info": OutputTopic(CameraInfo, _camera_info),
    MAP_TOPICS["normals"]: OutputTopic(Image, _normals, needs=frozenset({"normals"})),
    "normals/color": OutputTopic(Image, _normals_color, needs=frozenset({"normals"})),
    "normals/camera_info": OutputTopic(CameraInfo, _camera_info),
    MAP_TOPICS["labels"]: OutputTopic(Image, _mask, needs=frozenset({"labels"})),
    MAP_TOPICS["confidence"]: OutputTopic(Image, _confidence, needs=frozenset({"confidence"})),
    "segmentation/color": OutputTopic(Image, _mask_color, needs=frozenset({"labels"})),
    "segmentation/camera_info": OutputTopic(CameraInfo, _camera_info),
    MAP_TOPICS["boundary"]: OutputTopic(Image, _boundary, needs=frozenset({"boundary"})),
    MAP_TOPICS["computed"]: OutputTopic(Image, _computed, needs=frozenset({"computed"})),
    "points": OutputTopic(
        PointCloud2,
        _points,
        needs=frozenset({"depth"}),
        shows=frozenset({"normals", "labels"}),
        metric=True,
    ),
}

_PNGS = (MAP_TOPICS["labels"], MAP_TOPICS["confidence"], MAP_TOPICS["computed"])
_JPEGS = ("normals/color", "segmentation/color")

OUTPUTS: Mapping[str, OutputTopic] = {
    **_RAW,
    f"{MAP_TOPICS['depth']}/compressedDepth": replace(
        _RAW[MAP_TOPICS["depth"]], message_type=CompressedImage, render=_compressed_depth
    ),
    **{f"{name}/compressed": _compressed(_RAW[name], png_message) for name in _PNGS},
    **{f"{name}/compressed": _compressed(_RAW[name], jpeg_message) for name in _JPEGS},
}
"""Compressed ones have the names of image_transport's plugins."""
