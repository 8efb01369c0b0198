"""Small bags made on the spot, in both storages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
PERIOD_NS = 100_000_000
GEOMETRY = ("TransformStamped", "Transform", "Vector3", "Quaternion")


class Messages:
    """Makes sensor_msgs messages and writes them into bags."""

    types = TYPES

    def header(self, stamp_ns: int, frame_id: str = "camera") -> Any:
        time = TYPES.types["builtin_interfaces/msg/Time"](
            sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)

    def image(
        self, pixels: np.ndarray, encoding: str, stamp_ns: int = 0, frame_id: str = "camera"
    ) -> Any:
        return TYPES.types["sensor_msgs/msg/Image"](
            header=self.header(stamp_ns, frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def compressed(self, pixels: np.ndarray, format_: str, stamp_ns: int = 0) -> Any:
        extension = ".jpg" if "jpeg" in format_ else ".png"
        return TYPES.types["sensor_msgs/msg/CompressedImage"](
            header=self.header(stamp_ns),
            format=format_,
            data=cv2.imencode(extension, pixels)[1].reshape(-1),
        )

    def camera_info(
        self,
        width: int = 16,
        height: int = 12,
        fx: float = 20.0,
        stamp_ns: int = 0,
        frame_id: str = "camera",
    ) -> Any:
        k = np.array([fx, 0, width / 2, 0, fx, height / 2, 0, 0, 1])
        return TYPES.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp_ns, frame_id),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k,
            r=np.eye(3).reshape(-1),
            p=np.insert(k, [3, 6, 9], 0.0),
            binning_x=0,
            binning_y=0,
            roi=TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )

    def transforms(
        self, *edges: tuple[str, str, Sequence[float], Sequence[float]], stamp_ns: int = 0
    ) -> Any:
        """A TFMessage of (parent, child, x y z, quaternion x y z w)."""
        types = {name: TYPES.types[f"geometry_msgs/msg/{name}"] for name in GEOMETRY}
        return TYPES.types["tf2_msgs/msg/TFMessage"](
            transforms=[
                types["TransformStamped"](
                    header=self.header(stamp_ns, parent),
                    child_frame_id=child,
                    transform=types["Transform"](
                        translation=types["Vector3"](*shift), rotation=types["Quaternion"](*turn)
                    ),
                )
                for parent, child, shift, turn in edges
            ]
        )

    def bag(
        self,
        path: Path,
        storage: str,
        messages: Sequence[tuple[str, int, Any]],
        compressed: bool = False,
    ) -> Path:
        """Write (topic, time_ns, message); bytes are written as an Image's data as they are."""
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        writer = Writer(path, version=9, storage_plugin=plugin)
        if compressed:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections: dict[str, Any] = {}
            for topic, time_ns, message in messages:
                raw = isinstance(message, bytes)
                kind = "sensor_msgs/msg/Image" if raw else message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                data = message if raw else TYPES.serialize_cdr(message, kind)
                writer.write(connections[topic], time_ns, data)
        return path


@pytest.fixture
def messages() -> Messages:
    return Messages()


@pytest.fixture(params=["mcap", "sqlite3"])
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def room_bag(messages: Messages, tmp_path: Path, storage: str) -> Path:
    """Four grey frames of 16x12 with camera_info, depth, normals and labels of the same stamps.

    Frame i has grey value 10 * i everywhere, depth i + 1 metres, normals to the camera, label i.
    """
    return write_room(messages, tmp_path / "room", storage)


@pytest.fixture
def write_room_bag(messages: Messages, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "room", storage: str = "mcap", **changes: Any) -> Path:
        return write_room(messages, tmp_path / name, storage, **changes)

    return write


def write_room(
    messages: Messages,
    path: Path,
    storage: str,
    info: bool = True,
    truth: bool = True,
    stamp_ns: int | None = None,
    lag_ns: int = 0,
) -> Path:
    """Write the room; all stamped `stamp_ns` if that is given, and truth `lag_ns` later."""
    content: list[tuple[str, int, Any]] = []
    for i in range(4):
        now = 10**9 + i * PERIOD_NS
        stamp = now if stamp_ns is None else stamp_ns
        grey = np.full((12, 16, 3), 10 * i, np.uint8)
        content.append(("/camera/image", now, messages.image(grey, "rgb8", stamp)))
        if info:
            content.append(("/camera/camera_info", now + 1, messages.camera_info(stamp_ns=stamp)))
        if truth:
            depth = np.full((12, 16), i + 1.0, np.float32)
            normals = np.tile(np.float32([0, 0, -1]), (12, 16, 1))
            labels = np.full((12, 16), i, np.uint8)
            late = stamp + lag_ns
            content += [
                ("/truth/depth", now + 2, messages.image(depth, "32FC1", late)),
                ("/truth/normals", now + 3, messages.image(normals, "32FC3", late)),
                ("/truth/labels", now + 4, messages.image(labels, "mono8", late)),
            ]
    return messages.bag(path, storage, content)


def write_walk(
    messages: Messages,
    path: Path,
    frames: int = 60,
    seconds: float = 0.25,
    edit: Callable[[int, dict[str, Any]], None] = lambda number, frame: None,
) -> Path:
    """A camera that walks along a patterned wall: each picture shows another part of it.

    Args:
        seconds: between two frames.
        edit: may change a frame's "image" [48,64,3] uint8, "depth" [48,64] uint16 mm, "stamp_ns",
            "depth_stamp_ns" before it is written; an entry that it sets to None is left out.
    """
    wall = np.random.default_rng(5).integers(0, 255, (6, 40 + 8 * frames, 3), np.uint8)
    wall = cv2.resize(wall, (8 * wall.shape[1], 48), interpolation=cv2.INTER_NEAREST)
    slope = np.linspace(2000, 1000, 48)[:, None] + np.zeros((48, 64))
    content: list[tuple[str, int, Any]] = []
    for number in range(frames):
        stamp_ns = 10**9 + round(number * seconds * 1e9)
        frame: dict[str, Any] = {
            "image": np.ascontiguousarray(wall[:, 48 * number : 48 * number + 64]),
            "depth": slope.astype(np.uint16),
            "stamp_ns": stamp_ns,
            "depth_stamp_ns": stamp_ns,
        }
        edit(number, frame)
        stamp_ns = frame["stamp_ns"]
        info = messages.camera_info(64, 48, 60.0, stamp_ns)
        content.append(("/camera/camera_info", stamp_ns, info))
        content.append(
            ("/camera/image", stamp_ns + 1, messages.image(frame["image"], "rgb8", stamp_ns))
        )
        if frame["depth"] is not None:
            encoding = "32FC1" if frame["depth"].dtype == np.float32 else "16UC1"
            depth = messages.image(frame["depth"], encoding, frame["depth_stamp_ns"])
            content.append(("/camera/depth", frame["depth_stamp_ns"] + 2, depth))
    return messages.bag(path, "mcap", sorted(content, key=lambda entry: entry[1]))
