"""7-Scenes and folders like it: colour and depth of a Kinect, 640x480.

FOLDER/frame-000000.color.{png,jpg}, FOLDER/frame-000000.depth.png    a plain folder, or
FOLDER/{TrainSplit,TestSplit}.txt and FOLDER/seq-01/frame-...          a scene as published
FOLDER/camera-intrinsics.txt    optional: 3x3 matrix of the depth camera

Depth: 16 bits, millimetres, 0 and 65535 unknown, of the depth camera: not registered to colour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.image.camera_info import Intrinsics
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.geometry import edges, register
from pag_ros.lab.datasets.sample import Sample
from pag_ros.reading import reading

DEPTH_CAMERA = Intrinsics(585.0, 585.0, 320.0, 240.0)
COLOR_CAMERA = Intrinsics(525.0, 525.0, 320.0, 240.0)
"""The dataset has no calibration of the colour camera; 525 is the Kinect's usual value."""

_UNKNOWN_DEPTH = (0, 65535)
EDGE_WINDOW = 7
"""Pixels; what is left of the registration's error lies within it, so edges are not scored."""

_SPLIT_FILES = {"test": "TestSplit.txt", "train": "TrainSplit.txt"}


class SevenScenes:
    """Frames of a folder, or of the published split of a scene; depth registered to colour."""

    classes: tuple[str, ...] = ()
    protocol = DepthProtocol()

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"seven-scenes {folder.name} {split}"
        self._frames = [
            path
            for sequence in _sequences(folder, split)
            for path in files.matching(sequence, "frame-*.depth.png")
        ]
        self._depth_camera = _camera(folder / "camera-intrinsics.txt")

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        path = self._frames[index]
        stem = path.name.removesuffix(".depth.png")
        color = files.read_color(files.matching(path.parent, f"{stem}.color.[jp][pn]g")[0])
        depth = files.read_depth(path, units_per_metre=1000.0, unknown=_UNKNOWN_DEPTH)
        files.same_size(path, color, depth)
        return Sample(color, COLOR_CAMERA.fx, depth=registered(depth, self._depth_camera))


def registered(depth: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    """Depth [H,W] metres of a camera as the colour camera sees it, NaN = unknown and at edges."""
    moved = register(depth, camera, COLOR_CAMERA)
    moved[edges(moved, EDGE_WINDOW)] = np.nan
    return moved


def _sequences(folder: Path, split: str) -> list[Path]:
    path = folder / _SPLIT_FILES.get(split, "")
    if not path.is_file():
        if any((folder / name).is_file() for name in _SPLIT_FILES.values()) and split != "all":
            raise DatasetError(f"{path}: missing; the scene's other split list is there")
        nested = sorted(folder.glob("seq-*"))
        return nested or [folder]
    names = [line.strip() for line in files.read_text(path).splitlines() if line.strip()]
    numbers = [name.removeprefix("sequence") for name in names]
    if not all(number.isdecimal() and len(number) <= 4 for number in numbers):
        raise DatasetError(f"{path}: expected lines like 'sequence1', got {names[:3]}")
    return [folder / f"seq-{int(number):02d}" for number in numbers]


def _camera(path: Path) -> Intrinsics:
    if not path.is_file():
        return DEPTH_CAMERA
    with reading(path, "a matrix of 3x3 numbers", DatasetError):
        matrix = np.array(files.read_text(path).split(), np.float64).reshape(3, 3)
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DatasetError(f"{path}: expected positive focal lengths on the diagonal")
    return Intrinsics(*(float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))))
