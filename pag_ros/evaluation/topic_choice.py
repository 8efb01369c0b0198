"""Which topic of a bag carries what, where several could."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pag_ros.errors import BagError, one_line

CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
NO_TOPIC = "none"
ALIGNED_WORDS = ("aligned", "registered")
"""What drivers call the depth that they have brought to the colour camera's view."""

FirstMessage = Callable[[Any], Any]
"""A connection -> its first message, or None where that cannot be read."""


def choose_topics(
    found: Mapping[str, list[Any]],
    wanted: Mapping[str, str | None],
    path: Path,
    first_message: FirstMessage,
) -> dict[str, Any]:
    """One connection for each kind that the bag has, "depth_camera_info" among them.

    Args:
        found: kind -> connections that could serve as it.
        wanted: kind -> topic; None: find it; "none": do without.
        path: of the bag, for what is said of it.

    Raises:
        BagError: a named topic is not there, or of another type; one that is needed is missing; or
            several could be meant.
    """
    every = {c.topic: c for connections in found.values() for c in connections}

    def choose(kind: str, candidates: list[Any]) -> Any:
        return _choose(kind, wanted[kind], candidates, every, path)

    image = choose("image", found["image"])
    if image is None:
        raise BagError(f"{path}: no image topic with messages (sensor_msgs Image, CompressedImage)")
    info = choose("camera_info", _of_same_camera(image.topic, found["camera_info"]))
    if info is None:
        raise BagError(f"{path}: no camera_info topic with messages; depth needs the camera's fx")
    cameras = _Cameras(image, info, found["camera_info"], first_message)
    depths = _preferred(found["depth"])
    if len(depths) > 1 and wanted["depth"] is None:
        depths = cameras.of_the_image(depths)
    chosen = {"image": image, "camera_info": info, "depth": choose("depth", depths)}
    for kind in ("normals", "labels"):
        chosen[kind] = choose(kind, found[kind])
    if chosen["depth"] is not None:
        own = cameras.info_of(chosen["depth"])
        candidates = [] if own in (None, info) else [own]
        chosen["depth_camera_info"] = choose("depth_camera_info", candidates)
    return {kind: connection for kind, connection in chosen.items() if connection is not None}


def _choose(
    kind: str, name: str | None, candidates: list[Any], every: dict[str, Any], path: Path
) -> Any:
    """The connection that is meant, or None where there is none."""
    option = "--" + kind.replace("_", "-") + "-topic"
    if name == NO_TOPIC:
        return None
    if name is not None:
        is_info = name in every and every[name].msgtype == CAMERA_INFO_TYPE
        if name not in every or is_info != kind.endswith("camera_info"):
            having = one_line(", ".join(sorted(every))) or "nothing of use"
            raise BagError(f"{path}: no {kind} topic {name} with messages; the bag has {having}")
        return every[name]
    candidates = _preferred(candidates)
    if len(candidates) > 1:
        names = one_line(", ".join(sorted(c.topic for c in candidates)))
        raise BagError(f"{path}: several topics could be the {kind}; choose by {option}: {names}")
    return candidates[0] if candidates else None


class _Cameras:
    """Which topics come from the image's camera."""

    def __init__(
        self, image: Any, info: Any, infos: list[Any], first_message: FirstMessage
    ) -> None:
        self._image = image
        self._info = info
        self._infos = infos
        self._first_message = first_message

    def info_of(self, connection: Any) -> Any:
        """The CameraInfo of the topic's camera; None where several could be it.

        Where the image's is as near by its name as others, it is the image's.
        """
        nearest = _of_same_camera(connection.topic, self._infos)
        if self._info in nearest:
            return self._info
        return nearest[0] if len(nearest) == 1 else None

    def of_the_image(self, depths: list[Any]) -> list[Any]:
        """Those of several depths that the image's camera sees; all where nothing tells them apart.

        Asked in turn, as long as several are left: which has the image's CameraInfo, or one that
        says the same; which is of the image's frame; which is called aligned.
        """
        for is_of_the_image in (
            self._has_the_same_info,
            self._has_an_equal_info,
            self._has_the_same_frame,
            _is_called_aligned,
        ):
            if len(depths) == 1:
                break
            depths = [depth for depth in depths if is_of_the_image(depth)] or depths
        return depths

    def _has_the_same_info(self, depth: Any) -> bool:
        return self.info_of(depth) is self._info

    def _has_an_equal_info(self, depth: Any) -> bool:
        own = self.info_of(depth)
        if own is None:
            return False
        one, other = self._first_message(own), self._first_message(self._info)
        return one is not None and other is not None and _described(one) == _described(other)

    def _has_the_same_frame(self, depth: Any) -> bool:
        one, other = self._first_message(depth), self._first_message(self._image)
        frames = [message and message.header.frame_id for message in (one, other)]
        return None not in frames and frames[0] == frames[1]


def _is_called_aligned(depth: Any) -> bool:
    return any(word in depth.topic.lower() for word in ALIGNED_WORDS)


def _described(info: Any) -> tuple[Any, ...]:
    """What a CameraInfo says of its camera, to be compared."""
    size = info.width, info.height, info.binning_x, info.binning_y
    return (info.header.frame_id, *size, tuple(info.k), tuple(info.d))


def _preferred(candidates: list[Any]) -> list[Any]:
    """Without the compressed copies of raw topics; with those called truth, if there are any."""
    names = {c.topic for c in candidates}
    distinct = [c for c in candidates if c.topic.rpartition("/")[0] not in names]
    return [c for c in distinct if "truth" in c.topic.lower()] or distinct


def _of_same_camera(topic: str, infos: list[Any]) -> list[Any]:
    """By ROS convention `NS/camera_info` belongs to `NS/image...`; the longest shared NS wins."""
    if len(infos) < 2:
        return infos
    shared = {c.topic: _shared_parts(topic, c.topic) for c in infos}
    return [c for c in infos if shared[c.topic] == max(shared.values())]


def _shared_parts(one: str, other: str) -> int:
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    equal = [a == b for a, b in pairs]
    return equal.index(False) if False in equal else len(equal)
