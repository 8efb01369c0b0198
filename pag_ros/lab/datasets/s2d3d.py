"""Stanford 2D-3D-S: panoramas of six office areas with 13 classes, depth and normals.

FOLDER/assets/semantic_labels.json
FOLDER/area_{1,2,3,4,5a,5b,6}/pano/{rgb,depth,normal,semantic,pose}/camera_..._domain_*.{png,json}

Depth: 16 bits, 1/512 m, 65535 unknown; the distance from the camera's centre. Normals: 8 bits
around 127.5 in the building's frame, 128,128,128 unknown. Semantics: R * 65536 + G * 256 + B is an
index into the labels, beyond them unknown. Source: README of alexsax/2D-3D-Semantics.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import NO_LABEL
from pag_ros.reading import reading

CLASSES = (
    "ceiling",
    "floor",
    "wall",
    "beam",
    "column",
    "window",
    "door",
    "table",
    "chair",
    "sofa",
    "bookcase",
    "board",
    "clutter",
)

_ALL = ("1", "2", "3", "4", "5a", "5b", "6")
TEST_AREAS = {"1": ("5a", "5b"), "2": ("2", "4"), "3": ("1", "3", "6")}
"""Fold -> areas it tests on; the others train (Armeni et al. 2017). Results of one number on
panoramas mostly mean fold 1, which "train" and "test" stand for."""

SPLITS = ("test", "train", *(f"fold{f}-{kind}" for f in TEST_AREAS for kind in ("test", "train")))

_UNKNOWN_DEPTH = (0, 65535)
_UNKNOWN_NORMAL = 128


class Stanford2D3DS:
    """1413 panoramas of 4096x2048. fx is given as pixels a radian at the horizon."""

    classes = CLASSES
    protocol = DepthProtocol()

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"s2d3d {split}"
        self._pictures = [
            path
            for area in areas_of(split)
            for path in files.matching(folder / f"area_{area}" / "pano" / "rgb", "*_rgb.png")
        ]
        self._table = _label_table(folder / "assets" / "semantic_labels.json")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index]
        color = files.read_color(picture)
        depth = files.read_depth(_beside(picture, "depth", "depth.png"), 512.0, _UNKNOWN_DEPTH)
        normals = files.read_color(_beside(picture, "normal", "normals.png"))
        semantic = files.read_color(_beside(picture, "semantic", "semantic.png"))
        files.same_size(picture, color, depth, normals, semantic)
        rotation = read_rotation(_beside(picture, "pose", "pose.json"))
        return Sample(
            color,
            focal_px=color.shape[1] / (2.0 * math.pi),
            depth=depth,
            normals=camera_normals(normals, rotation),
            labels=self._labels(semantic),
        )

    def _labels(self, semantic: NDArray[np.uint8]) -> NDArray[np.uint8]:
        index = semantic.astype(np.int64) @ np.array([65536, 256, 1])
        return np.asarray(self._table.take(index.clip(max=len(self._table) - 1)))


def areas_of(split: str) -> tuple[str, ...]:
    """The areas of "train", "test" (both fold 1), or "fold2-train" and so on."""
    fold, kind = split.removeprefix("fold").split("-") if "-" in split else ("1", split)
    tested = TEST_AREAS[fold]
    return tested if kind == "test" else tuple(area for area in _ALL if area not in tested)


def camera_normals(stored: NDArray[np.uint8], rotation: NDArray[np.float64]) -> NDArray[np.float32]:
    """Normals [H,W,3] as stored, turned from the building's frame into the camera's; or NaN."""
    normals = (stored.astype(np.float32) - 127.5) @ rotation.T.astype(np.float32)
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    # 127.5 away from zero in one direction; much shorter ones are mixtures at edges.
    known = (stored != _UNKNOWN_NORMAL).any(axis=2, keepdims=True) & (length > 64.0)
    unknown = np.full_like(normals, np.nan)
    return np.asarray(np.divide(normals, length, out=unknown, where=known))


def read_rotation(path: Path) -> NDArray[np.float64]:
    """[3,3] from the building's frame to the camera's (x right, y down, z forward)."""
    data = files.read_json(path)
    with reading(path, "a file with a matrix under 'camera_rt_matrix'", DatasetError):
        matrix = np.array(data["camera_rt_matrix"], np.float64)[:3, :3]
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):
        raise DatasetError(f"{path}: 'camera_rt_matrix' does not begin with a rotation")
    return matrix


def _label_table(path: Path) -> NDArray[np.uint8]:
    """[n + 1] label index -> class id; names are like "chair_9_conferenceRoom_1_4"."""
    names = files.read_json(path)
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DatasetError(f"{path}: expected a list of names like 'chair_9_office_1_4'")
    ids = {name: i for i, name in enumerate(CLASSES)}
    known = [ids.get(name.split("_")[0], NO_LABEL) for name in names]
    return np.array([*known, NO_LABEL], np.uint8)


def _beside(picture: Path, kind: str, ending: str) -> Path:
    return picture.parents[1] / kind / f"{picture.name.removesuffix('rgb.png')}{ending}"
