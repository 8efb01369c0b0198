"""Reads rooms, in the layout that `pag_ros data render` and `pag_ros data from-bag` write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import MAX_CLASSES
from pag_ros.reading import reading, reason_of

HEADER, INDEX = "dataset.json", "frames.jsonl"
MAX_INDEX_BYTES = 1 << 28
"""Limit of frames.jsonl, enough for about two million frames."""

TRUTHS = ("depth", "normals", "labels")
"""What a frame has besides its picture, if its line in the index does not say otherwise."""

RUNNER_UP = "runner_up"
"""What it may have besides: of labels by a teacher, see `Sample`."""


@dataclass(frozen=True)
class RoomFrame:
    """One line of frames.jsonl: where a frame lies, its focal length in pixels, and its truths."""

    folder: Path
    id: str
    focal_px: float
    truths: tuple[str, ...] = TRUTHS


class RoomPictures:
    """The frames of one or more folders of rooms, one after the other.

    Attributes:
        exact: whether depth and labels are right to the pixel, as those of renders are, so that
            boundaries can be drawn from them.

    Raises:
        DatasetError: a folder holds no such dataset, is empty, or has other classes.
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
        self.exact = all(_is_exact(folder) for folder in folders)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        return read_frame(self.frames[index])


def read_classes(folder: Path) -> tuple[str, ...]:
    """The classes that dataset.json names; empty if there is none: ids are the model's own."""
    path = folder / HEADER
    data = _read_header(path)
    with reading(path, "a list of names under 'classes'", DatasetError):
        names = checks.items(data.get("classes", []), "classes", 0, MAX_CLASSES)
        return tuple(checks.name_of(name, "classes") for name in names)


def _is_exact(folder: Path) -> bool:
    return _read_header(folder / HEADER).get("exact", True) is True


def _read_header(path: Path) -> Mapping[str, Any]:
    """What a dataset says of itself; nothing where the file is missing."""
    if not path.is_file():
        return {}
    with reading(path, "a JSON object", DatasetError):
        return checks.entries(files.read_json(path), "dataset")


def read_index(folder: Path) -> list[RoomFrame]:
    """The complete frames of a folder of rooms.

    Raises:
        DatasetError: no index, an empty one, or a line in it is damaged.
    """
    path = folder / INDEX
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
        focal_px = checks.number(entry["fx"], "fx", 1e-3, 1e5)
        return RoomFrame(folder, name, focal_px, _truths(entry.get("truths", TRUTHS)))
    except (ValueError, KeyError, RecursionError) as error:
        raise DatasetError(
            f"{path}: line {number}: {reason_of(error)}; "
            f'expected {{"id": "000000", "fx": 250.0, ...}}, not {checks.shown(line)}'
        ) from error


def _truths(value: object) -> tuple[str, ...]:
    known = (*TRUTHS, RUNNER_UP)
    names = tuple(checks.items(value, "truths", 0, len(known)))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"truths: {checks.shown(unknown[0])} is none of {', '.join(known)}")
    return names


def read_frame(frame: RoomFrame) -> Sample:
    """Decode the picture of a frame and the truths that it has.

    Raises:
        DatasetError: one of them is missing, damaged or of another kind or size.
    """
    stem = frame.folder / "frames" / frame.id
    color = files.read_color(Path(f"{stem}.color.jpg"))
    depth, normals, labels = (name in frame.truths for name in TRUTHS)
    sample = Sample(
        color=color,
        depth=_read_depth(Path(f"{stem}.depth.png")) if depth else None,
        normals=_read_normals(Path(f"{stem}.normal.png")) if normals else None,
        labels=files.read_gray8(Path(f"{stem}.label.png")) if labels else None,
        runner_up=_read_runner_up(Path(f"{stem}.second.png"), RUNNER_UP in frame.truths),
        focal_px=frame.focal_px,
    )
    truths = (sample.depth, sample.normals, sample.labels, sample.runner_up)
    files.same_size(Path(stem), color, *truths)
    return sample


def _read_depth(path: Path) -> NDArray[np.float32]:
    return files.read_depth(path, units_per_metre=1000.0)


def _read_runner_up(path: Path, known: bool) -> NDArray[np.uint8] | None:
    return files.read_color(path)[..., :2] if known else None


def _read_normals(path: Path) -> NDArray[np.float32]:
    stored = files.read_color(path)
    unit = stored.astype(np.float32) / 127.5 - 1.0
    # Joined by hand: NumPy reduces over three neighbours ten times as slowly.
    unit[(stored[..., 0] | stored[..., 1] | stored[..., 2]) == 0] = np.nan
    return unit
