"""Every reader of messages, given hundreds of odd ones: it reads, or refuses in one line.

Messages are plain objects here, with whatever values the fields' types in ROS can hold.
"""

from __future__ import annotations

import random
import struct
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from fuzzing import assert_refusals_are_ours
from mutations import VALUES, mutate_bytes

from pag_ros.errors import PagError
from pag_ros.image.camera_info import calibration_fault, intrinsics
from pag_ros.image.decode import ENCODINGS, to_depth, to_labels, to_normals, to_rgb
from pag_ros.image.rectification import lens_remark
from pag_ros.image.transforms import FrameTree

READERS = (to_rgb, to_depth, to_labels, to_normals)
SIDES = (0, 1, 2, 3, 8, 13, 4000, 2**31, 2**32 - 1)
NUMBERS = (0.0, -1.0, 1.0, 20.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf"))
PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)


def test_images() -> None:
    encodings = [*ENCODINGS, "32FC1", "16UC1", "32FC3", "mono8", "", "jpeg", "rgb8; x", "8UC4096"]

    def damage(rng: random.Random) -> None:
        height, width = (rng.choice(SIDES) for _ in range(2))
        message = SimpleNamespace(
            height=height,
            width=width,
            encoding=rng.choice(encodings),
            is_bigendian=rng.choice((0, 1, 255)),
            step=rng.choice((0, 1, width, 3 * width, 4 * width, 12 * width, 2**32 - 1)),
            data=rng.randbytes(rng.choice((0, 1, 64, 3 * 13 * 13, 8 * 8 * 12, 4096))),
        )
        _read_by_one(rng, message)

    assert_refusals_are_ours("images", damage, "", 1000)


def test_compressed_images() -> None:
    files = [
        cv2.imencode(".jpg", PIXELS)[1].tobytes(),
        cv2.imencode(".png", PIXELS)[1].tobytes(),
        cv2.imencode(".png", PIXELS[..., 0].astype(np.uint16) * 200)[1].tobytes(),
        cv2.imencode(".webp", PIXELS)[1].tobytes(),
        cv2.imencode(".bmp", PIXELS)[1].tobytes(),
    ]
    formats = ("jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "", "x")

    def damage(rng: random.Random) -> None:
        data = rng.choice(files)
        if rng.random() < 0.2:
            data = _png_that_claims(rng.choice(SIDES), rng.choice(SIDES))
        if rng.random() < 0.8:
            data = mutate_bytes(data, rng)
        if rng.random() < 0.3:
            data = bytes(12) + data
        _read_by_one(rng, SimpleNamespace(format=rng.choice(formats), data=data))

    assert_refusals_are_ours("compressed images", damage, "", 1000)


def test_calibrations() -> None:
    models = ("plumb_bob", "rational_polynomial", "equidistant", "", "x\ny")

    def damage(rng: random.Random) -> None:
        region = {name: rng.choice(SIDES) for name in ("x_offset", "y_offset", "width", "height")}
        info = SimpleNamespace(
            width=rng.choice(SIDES),
            height=rng.choice(SIDES),
            binning_x=rng.choice((0, 1, 2, 2**32 - 1)),
            binning_y=rng.choice((0, 1, 2, 2**32 - 1)),
            roi=SimpleNamespace(**region) if rng.random() < 0.3 else _whole(),
            k=[rng.choice(NUMBERS) for _ in range(9)],
            d=[rng.choice(NUMBERS) for _ in range(rng.choice((0, 4, 5, 8, 12)))],
            distortion_model=rng.choice(models),
        )
        if rng.random() < 0.4:
            info.k[0] = info.k[4] = 20.0
        remark = lens_remark(info, "/camera/image_raw")
        assert remark is None or "\n" not in remark
        calibration_fault(info)
        camera = intrinsics(info, 8, 8)
        assert camera is None or np.isfinite((camera.fx, camera.fy, camera.cx, camera.cy)).all()

    assert_refusals_are_ours("camera calibrations", damage, "", 1000)


def test_transforms() -> None:
    def numbers(rng: random.Random, names: str) -> SimpleNamespace:
        choices = NUMBERS if rng.random() < 0.2 else (1.0, 20.0)
        return SimpleNamespace(**{name: rng.choice(choices) for name in names})

    def damage(rng: random.Random) -> None:
        tree = FrameTree()
        frames = ["base", "camera", "optical", "", "/base", "a" * 5000, "x\ny"]
        if rng.random() < 0.5:
            frames = frames[:3]
        for _ in range(rng.randint(1, 3)):
            transform = SimpleNamespace(
                translation=numbers(rng, "xyz"), rotation=numbers(rng, "xyzw")
            )
            tree.add(
                SimpleNamespace(
                    header=SimpleNamespace(frame_id=rng.choice(frames)),
                    child_frame_id=rng.choice(frames),
                    transform=transform,
                )
            )
        tree.between("base", "optical")

    assert_refusals_are_ours("transforms", damage, "", 1000)


def test_parameters() -> None:
    parameters = pytest.importorskip("pag_ros.ros.parameters")
    # What a ROS message can hold: integers of 64 bits.
    values = [v for v in VALUES if not (isinstance(v, int) and abs(v) >= 2**63)]

    def damage(rng: random.Random) -> None:
        names = rng.sample(list(parameters.DEFAULTS), rng.randint(1, 3))
        changes: dict[str, Any] = {name: rng.choice(values) for name in names}
        parameters.updated(parameters.Settings(), changes, configured=rng.random() < 0.5)

    assert_refusals_are_ours("parameters", damage, "", 1000)


def _read_by_one(rng: random.Random, message: SimpleNamespace) -> None:
    """Read a message as something; of two readers that take it the answers have one size."""
    array = rng.choice(READERS)(message)
    assert array.ndim in (2, 3)
    try:
        picture = to_rgb(message)
    except PagError:
        return
    assert picture.shape[:2] == array.shape[:2]


def _whole() -> SimpleNamespace:
    return SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)


def _png_that_claims(height: int, width: int) -> bytes:
    """A PNG of hardly any data whose header tells of that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
