"""The dataset on disk: dataset.json, frames.jsonl and four pictures a frame.

DIR/dataset.json            format, classes, how it was made, licences
DIR/frames.jsonl            one JSON object a line, appended once a frame's files are complete
DIR/frames/ID.color.jpg     sRGB
DIR/frames/ID.depth.png     uint16 millimetres along the optical axis, 0 unknown
DIR/frames/ID.normal.png    uint8 RGB = round((n + 1) * 127.5), optical frame; 0,0,0 unknown
DIR/frames/ID.label.png     uint8 class ids, 255 unlabelled
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock, Timeout

from pag_ros.checks import name_of
from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.files import read_json
from pag_ros.lab.scenes.camera import SceneCamera
from pag_ros.lab.scenes.classes import CLASSES
from pag_ros.lab.scenes.render import View
from pag_ros.reading import reading
from pag_ros.writing import empty_of_leftovers, write_bytes, write_text

FORMAT = 1
MAX_DEPTH_METRES = 65.5


@dataclass(frozen=True)
class FrameLine:
    """A line of frames.jsonl. stamp: seconds, only where frames follow one another."""

    id: str
    scene: int
    camera: SceneCamera
    stamp: float | None = None

    def line(self) -> str:
        """The record as one line of JSON."""
        fields: dict[str, object] = {"id": self.id, "scene": self.scene, **asdict(self.camera)}
        if self.stamp is not None:
            fields["stamp"] = self.stamp
        return json.dumps(fields)


class DatasetWriter:
    """Keeps the index of a dataset, alone: two writers would mix their frames.

    Attributes:
        done: ids of the frames that are complete.

    Raises:
        DatasetError: another process writes into the folder, it holds other frames or a damaged
            index, or it cannot be written to.
    """

    def __init__(self, out: Path, description: dict[str, object]) -> None:
        try:
            (out / "frames").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"{out}: cannot be written to ({error.strerror})") from error
        self._lock = _locked(out / ".lock")
        empty_of_leftovers(out / "frames")
        self._index = out / "frames.jsonl"
        self.done = _read_ids(self._index)
        document = {"format": FORMAT, "classes": list(CLASSES), **description}
        header = out / "dataset.json"
        if header.exists() and self.done:
            known = read_json(header)
            if not isinstance(known, dict) or known.get("generator") != document.get("generator"):
                raise DatasetError(
                    f"{out} holds frames made with other arguments: choose another folder"
                )
        write_text(header, json.dumps(document, indent=1))

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, records: list[FrameLine]) -> None:
        """Append frames whose files are complete; a torn last line is cut off at the next start."""
        with self._index.open("a", encoding="utf-8") as stream:
            for record in records:
                stream.write(record.line() + "\n")
                self.done.add(record.id)


def _locked(path: Path) -> FileLock:
    """A lock that only one process can hold; releasing it, or dying, lets go of it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DatasetError(
            f"{path.parent}: another process renders into it; wait for it, or choose another folder"
        ) from error
    return lock


def _read_ids(index: Path) -> set[str]:
    """Ids in an index; an unfinished last line (a killed run) is cut off."""
    if not index.exists():
        return set()
    with reading(index, "the index of a dataset", DatasetError, "choose another folder"):
        text = index.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        ids = {name_of(json.loads(line)["id"], "id") for line in whole.splitlines()}
    if whole != text:
        write_text(index, whole)
    return ids


def write_frame(out: Path, frame: str, view: View) -> None:
    """Write the four pictures of a frame, each whole or not at all."""
    folder = out / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    color = cv2.imencode(".jpg", view.color[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    write_bytes(folder / f"{frame}.color.jpg", color.tobytes(), tidy=False)
    pictures = {
        "depth": encode_depth(view.depth),
        "normal": encode_normals(view.normals)[..., ::-1],
        "label": view.labels,
    }
    for name, picture in pictures.items():
        data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        write_bytes(folder / f"{frame}.{name}.png", data.tobytes(), tidy=False)


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Metres, NaN unknown, to uint16 millimetres; unknown and what does not fit become 0."""
    known = depth <= MAX_DEPTH_METRES
    return np.where(known, np.round(depth * 1000), 0).astype(np.uint16)


def encode_normals(normals: np.ndarray) -> np.ndarray:
    """Unit normals [H,W,3], NaN unknown, to RGB bytes; unknown becomes 0,0,0."""
    known = np.isfinite(normals).all(-1, keepdims=True)
    return np.where(known, np.round((normals + 1) * 127.5), 0).astype(np.uint8)
