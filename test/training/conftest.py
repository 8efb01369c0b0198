"""A rendered dataset in small: the layout that `pag_ros data render` writes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Six frames of 64x48: a slanted floor before a wall, each with its own brightness."""
    folder = tmp_path / "rooms"
    (folder / "frames").mkdir(parents=True)
    with (folder / "frames.jsonl").open("w") as index:
        for i in range(6):
            write_frame(folder, f"{i:06d}", brightness=40 * i)
            index.write(json.dumps({"id": f"{i:06d}", "fx": 52.0 + i}) + "\n")
    return folder


def write_frame(folder: Path, name: str, brightness: int) -> None:
    depth = np.full((48, 64), 3000, np.uint16)
    depth[24:] = np.linspace(3000, 1000, 24, dtype=np.uint16)[:, None]
    depth[:4, :4] = 0
    normals = np.zeros((48, 64, 3), np.float32)
    normals[:24] = (0.6, 0.0, -0.8)
    normals[24:] = (0.0, -1.0, 0.0)
    encoded = np.round((normals + 1) * 127.5).astype(np.uint8)
    encoded[:4, :4] = 0
    labels = np.zeros((48, 64), np.uint8)
    labels[24:] = 1
    labels[:4, :4] = 255
    color = np.full((48, 64, 3), brightness, np.uint8)
    color[:, :32, 2] = 255  # the left half is red, in BGR
    stem = str(folder / "frames" / name)
    cv2.imwrite(f"{stem}.color.jpg", color)
    cv2.imwrite(f"{stem}.depth.png", depth)
    cv2.imwrite(f"{stem}.normal.png", encoded[..., ::-1])
    cv2.imwrite(f"{stem}.label.png", labels)
