"""Reads rendered rooms, in the layout that `pag_ros data render` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.datasets import files
from pag_ros.evaluation.datasets.sample import Sample
from pag_ros.evaluation.metrics import DepthProtocol


@dataclass(frozen=True)
class RoomFrame:
    """One line of frames.jsonl: where a frame lies and its focal length in pixels."""

    folder: Path
    id: str
    focal_px: float


class RenderedRooms:
    """The frames of one or more rendered datasets, one after the other.

    Raises:
        DatasetError: a folder is no rendered dataset, is empty, or has other classes.
    """

    protocol = DepthProtocol()

    def __init__(self, folders: Sequence[Path], split: str = "all") -> None:
        self.name = "rooms " + ", ".join(folder.name for folder in folders)
        self.frames = [frame for folder in folders for frame in read_index(folder)]
        known = {folder: read_classes(folder) for folder in folders}
        if len(set(known.values())) > 1:
            raise DatasetError(
                f"{folders[-1]}: other classes than {folders[0]}; render both alike, or use one"
            )
        self.classes = next(iter(known.values()), ())

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        return read_frame(self.frames[index])


def read_classes(folder: Path) -> tuple[str, ...]:
    """The classes that dataset.json names; empty if there is none: ids are the model's own."""
    path = folder / "dataset.json"
    if not path.is_file():
        return ()
    data = files.read_json(path)
    classes = data.get("classes", []) if isinstance(data, dict) else None
    if not (isinstance(classes, list) and all(isinstance(c, str) for c in classes)):
        raise DatasetError(f"{path}: expected a list of names under 'classes'")
    return tuple(classes)


def read_index(folder: Path) -> list[RoomFrame]:
    """The complete frames of a rendered dataset.

    Raises:
        DatasetError: no index, or none of its lines is valid.
    """
    path = folder / "frames.jsonl"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; make a dataset with `pag_ros data render`")
    frames = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            frames.append(RoomFrame(folder, Path(entry["id"]).name, float(entry["fx"])))
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off by a kill; its frame is rendered again on resume
    if not frames:
        raise DatasetError(f"{path}: holds no frames")
    return frames


def read_frame(frame: RoomFrame) -> Sample:
    """Decode the four pictures of a frame.

    Raises:
        DatasetError: one of them is missing, damaged or of another kind or size.
    """
    stem = str(frame.folder / "frames" / frame.id)
    color = _read(f"{stem}.color.jpg", cv2.IMREAD_COLOR, np.uint8, 3)
    depth = _read(f"{stem}.depth.png", cv2.IMREAD_UNCHANGED, np.uint16, 2)
    normals = _read(f"{stem}.normal.png", cv2.IMREAD_COLOR, np.uint8, 3)
    labels = _read(f"{stem}.label.png", cv2.IMREAD_UNCHANGED, np.uint8, 2)
    if len({picture.shape[:2] for picture in (color, depth, normals, labels)}) > 1:
        raise DatasetError(f"{stem}: its four pictures differ in size; render the dataset again")
    unit = normals[..., ::-1].astype(np.float32) / 127.5 - 1.0
    # Joined by hand: NumPy reduces over three neighbours ten times as slowly.
    unit[(normals[..., 0] | normals[..., 1] | normals[..., 2]) == 0] = 0.0
    return Sample(
        color=np.ascontiguousarray(color[..., ::-1]),
        depth=depth.astype(np.float32) / 1000.0,
        normals=unit,
        labels=labels,
        focal_px=frame.focal_px,
    )


def _read(path: str, flag: int, dtype: type[np.generic], dimensions: int) -> NDArray[np.uint8]:
    picture = cv2.imread(path, flag)
    if picture is None or picture.dtype != dtype or picture.ndim != dimensions:
        raise DatasetError(f"{path}: missing or damaged picture; render the dataset again")
    return np.asarray(picture)
