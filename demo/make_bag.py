"""Make the demo bag: real rooms with stereo depth, then a rendered walk with exact truth.

    python demo/make_bag.py --stereo STEREODEMO/datasets/oak-d [--walk FOLDER] --out demo/rooms

The same material gives the same bag, byte for byte. demo/README.md says where the material is from.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)

START_NS = 1_700_000_000 * 10**9
PERIOD_NS = 100_000_000
FRAMES_A_ROOM = 4
WALK_SIZE = (480, 360)
WALK_TRUTH_EVERY = 3
"""To keep the bag small: the truth of every third frame is enough to score a walk."""

JPEG_QUALITY = 90

MAX_DEPTH_M = 8.0
"""Beyond, one pixel of disparity error is more than 1.6 m: not a measurement any more."""

SMALLEST_PATCH_PX = 300

LEFT, TOP, WIDTH, HEIGHT = 0, 22, 608, 456
"""Part of the rectified left pictures (640x480) that is free of smeared borders; 4:3."""

MISMATCHED = {"donkey_toy_left.png": np.s_[40:160, 330:480]}
"""Looked at by eye: the bars of the crib all look alike and were matched a few bars off."""

IMAGE_TOPIC = "/camera/image_raw/compressed"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/truth/depth/compressedDepth"
NORMALS_TOPIC = "/truth/normals/compressed"
LABELS_TOPIC = "/truth/labels/compressed"


@dataclass(frozen=True)
class View:
    """One frame, its files as they go into the bag; None where it has no such truth.

    Attributes:
        jpeg: the picture; `format` its sensor_msgs format text.
        size: (width, height).
        intrinsics: fx, fy, cx, cy in pixels; the picture has no distortion.
        depth_png: 16-bit millimetres, 0 unknown.
        normals_png: (n + 1) / 2 * 255 as RGB; labels_png: class ids, 255 unknown.
    """

    frame_id: str
    jpeg: bytes
    format: str
    size: tuple[int, int]
    intrinsics: tuple[float, float, float, float]
    depth_png: bytes | None = None
    normals_png: bytes | None = None
    labels_png: bytes | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stereo", type=Path, required=True, help="folder datasets/oak-d")
    parser.add_argument("--walk", type=Path, help="folder with frames.jsonl and frames/")
    parser.add_argument("--out", type=Path, required=True, help="the bag's folder; must not exist")
    arguments = parser.parse_args()
    views = list(real_rooms(arguments.stereo))
    if arguments.walk:
        views += rendered_walk(arguments.walk)
    write_bag(views, arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"{arguments.out}: {len(views)} frames, {size / 1e6:.1f} MB")


def real_rooms(folder: Path) -> Iterator[View]:
    """Every stereo pair of the folder, standing still for a few frames."""
    camera = json.loads((folder / "stereodemo_calibration.json").read_text(encoding="utf-8"))
    intrinsics = (camera["fx"], camera["fy"], camera["cx0"] - LEFT, camera["cy"] - TOP)
    part = np.s_[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
    for path in sorted(folder.glob("*_left.png")):
        left = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        right = cv2.imread(str(path).replace("_left", "_right"), cv2.IMREAD_GRAYSCALE)
        depth = stereo_depth_mm(left, right, camera["fx"] * camera["baseline_meters"])
        if (wrong := MISMATCHED.get(path.name)) is not None:
            depth[wrong] = 0
        view = View(
            frame_id="oak_left_camera_optical_frame",
            jpeg=encode(left[part], ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            format="mono8; jpeg compressed ",
            size=(WIDTH, HEIGHT),
            intrinsics=intrinsics,
            depth_png=encode(depth[part], ".png", cv2.IMWRITE_PNG_COMPRESSION, 9),
        )
        yield from [view] * FRAMES_A_ROOM


def stereo_depth_mm(
    left: NDArray[np.uint8], right: NDArray[np.uint8], focal_baseline: float
) -> NDArray[np.uint16]:
    """Depth where stereo is sure of it, 0 elsewhere."""
    disparity = checked_disparity(left, right)
    depth = np.where(disparity > 0, focal_baseline / np.maximum(disparity, 1.0 / 16), 0.0)
    depth[depth > MAX_DEPTH_M] = 0.0
    return without_small_patches(np.round(depth * 1000.0).astype(np.uint16))


def checked_disparity(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Semi-global matching; 0 where left-to-right and right-to-left differ by over a pixel."""
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=112,
        blockSize=5,
        P1=8 * 25,
        P2=32 * 25,
        disp12MaxDiff=1,
        preFilterCap=31,
        uniquenessRatio=15,
        speckleWindowSize=SMALLEST_PATCH_PX,
        speckleRange=1,
        mode=cv2.STEREO_SGBM_MODE_HH,
    )
    forth = matcher.compute(left, right).astype(np.float32) / 16
    mirrored = matcher.compute(right[:, ::-1].copy(), left[:, ::-1].copy())
    back = mirrored[:, ::-1].astype(np.float32) / 16
    rows, columns = np.indices(forth.shape)
    seen_at = np.clip(np.round(columns - forth).astype(int), 0, forth.shape[1] - 1)
    agree = np.abs(back[rows, seen_at] - forth) <= 1.0
    return np.where((forth > 0) & agree, forth, np.float32(0.0))


def without_small_patches(depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    _, patch, statistics, _ = cv2.connectedComponentsWithStats((depth > 0).astype(np.uint8))
    small = statistics[:, cv2.CC_STAT_AREA] < SMALLEST_PATCH_PX
    return np.where(small[patch], 0, depth).astype(np.uint16)


def rendered_walk(folder: Path) -> Iterator[View]:
    """The frames listed in frames.jsonl, made smaller."""
    for i, line in enumerate((folder / "frames.jsonl").read_text(encoding="utf-8").splitlines()):
        frame = json.loads(line)
        scale = WALK_SIZE[0] / frame["width"]

        def smaller(kind: str, interpolation: int, identity: str = frame["id"]) -> NDArray[Any]:
            path = folder / "frames" / f"{identity}.{kind}"
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            return np.asarray(cv2.resize(pixels, WALK_SIZE, interpolation=interpolation))

        def truth(kind: str) -> bytes:
            pixels = smaller(kind, cv2.INTER_NEAREST)
            return encode(pixels, ".png", cv2.IMWRITE_PNG_COMPRESSION, 9)

        has_truth = i % WALK_TRUTH_EVERY == 0
        color = smaller("color.jpg", cv2.INTER_AREA)
        # The centre of the first pixel is at 0, so halves stay halves.
        center = ((frame[c] + 0.5) * scale - 0.5 for c in ("cx", "cy"))
        yield View(
            frame_id="walk_camera_optical_frame",
            jpeg=encode(color, ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            format="rgb8; jpeg compressed bgr8",
            size=WALK_SIZE,
            intrinsics=(frame["fx"] * scale, frame["fy"] * scale, *center),
            depth_png=truth("depth.png") if has_truth else None,
            normals_png=truth("normal.png") if has_truth else None,
            labels_png=truth("label.png") if has_truth else None,
        )


def encode(pixels: NDArray[Any], extension: str, option: int, value: int) -> bytes:
    return bytes(cv2.imencode(extension, pixels, [option, value])[1])


def write_bag(views: list[View], path: Path) -> None:
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for i, view in enumerate(views):
            stamp_ns = START_NS + i * PERIOD_NS
            for topic, message in messages_of(view, stamp_ns):
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                writer.write(connections[topic], stamp_ns, TYPES.serialize_cdr(message, kind))


def messages_of(view: View, stamp_ns: int) -> Iterator[tuple[str, Any]]:
    """CameraInfo first, so that it has arrived when the picture does."""
    time = TYPES.types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    header = TYPES.types["std_msgs/msg/Header"](time, view.frame_id)

    def compressed(format_: str, data: bytes) -> Any:
        make = TYPES.types["sensor_msgs/msg/CompressedImage"]
        return make(header, format_, np.frombuffer(data, np.uint8))

    yield INFO_TOPIC, camera_info(header, view)
    yield IMAGE_TOPIC, compressed(view.format, view.jpeg)
    if view.depth_png is not None:
        # image_transport's compressedDepth: format and two quantisation numbers unused for 16UC1.
        depth = struct.pack("<iff", 0, 0.0, 0.0) + view.depth_png
        yield DEPTH_TOPIC, compressed("16UC1; compressedDepth png", depth)
    if view.normals_png is not None:
        yield NORMALS_TOPIC, compressed("rgb8; png compressed bgr8", view.normals_png)
    if view.labels_png is not None:
        yield LABELS_TOPIC, compressed("mono8; png compressed ", view.labels_png)


def camera_info(header: Any, view: View) -> Any:
    fx, fy, cx, cy = view.intrinsics
    width, height = view.size
    return TYPES.types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1]),
        r=np.eye(3).reshape(-1),
        p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0]),
        binning_x=0,
        binning_y=0,
        roi=TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


if __name__ == "__main__":
    main()
