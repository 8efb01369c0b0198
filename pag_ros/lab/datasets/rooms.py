"""Reads rendered rooms, in the layout that `pag_ros data render` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import MAX_CLASSES
from pag_ros.reading import reading, reason_of

MAX_INDEX_BYTES = 1 << 28
"""Limit of frames.jsonl, enough for about two million frames."""


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
    with reading(path, "a list of names under 'classes'", DatasetError):
        names = checks.items(classes, "classes", 0, MAX_CLASSES)
        return tuple(checks.name_of(name, "classes") for name in names)


def read_index(folder: Path) -> list[RoomFrame]:
    """The complete frames of a rendered dataset.

    Raises:
        DatasetError: no index, an empty one, or a line in it is damaged.
    """
    path = folder / "frames.jsonl"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; make a dataset with `pag_ros data render`")
    text = files.read_text(path, MAX_INDEX_BYTES)
    lines = text.splitlines()
    if lines and not text.endswith("\n") and not lines[-1].endswith("}"):
        del lines[-1]  # cut off by a kill; its frame is rendered again on resume
    if not lines:
        raise DatasetError(f"{path}: holds no frames")
    return [_entry(folder, path, number, line) for number, line in enumerate(lines, 1)]


def _entry(folder: Path, path: Path, number: int, line: str) -> RoomFrame:
    try:
        entry = checks.entries(json.loads(line), "frame")
        name = Path(checks.name_of(entry["id"], "id")).name
        return RoomFrame(folder, name, checks.number(entry["fx"], "fx", 1e-3, 1e5))
    except (ValueError, KeyError, RecursionError) as error:
        raise DatasetError(
            f"{path}: line {number}: {reason_of(error)}; "
            f'expected {{"id": "000000", "fx": 250.0, ...}}, not {checks.shown(line)}'
        ) from error


def read_frame(frame: RoomFrame) -> Sample:
    """Decode the four pictures of a frame.

    Raises:
        DatasetError: one of them is missing, damaged or of another kind or size.
    """
    stem = frame.folder / "frames" / frame.id
    color = files.read_color(Path(f"{stem}.color.jpg"))
    depth = files.read_depth(Path(f"{stem}.depth.png"), units_per_metre=1000.0)
    normals = files.read_color(Path(f"{stem}.normal.png"))
    labels = files.read_gray8(Path(f"{stem}.label.png"))
    files.same_size(Path(stem), color, depth, normals, labels)
    unit = normals.astype(np.float32) / 127.5 - 1.0
    # Joined by hand: NumPy reduces over three neighbours ten times as slowly.
    unit[(normals[..., 0] | normals[..., 1] | normals[..., 2]) == 0] = np.nan
    return Sample(
        color=color,
        depth=depth,
        normals=unit,
        labels=labels,
        focal_px=frame.focal_px,
    )
