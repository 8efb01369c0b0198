"""Rendered rooms as a torch dataset: reads what `pag_ros data render` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pag_ros.errors import DatasetError
from pag_ros.training.augment import Sample, augment, fit


@dataclass(frozen=True)
class RoomFrame:
    """One line of frames.jsonl: where a frame lies and its focal length in pixels."""

    folder: Path
    id: str
    focal_px: float


class Rooms(Dataset[dict[str, Tensor]]):
    """Frames of one or more rendered datasets.

    Args:
        folders: each with frames.jsonl and frames/; see `pag_ros.training.scenes`.
        size: (width, height) of the samples.
        train: augment at random; else only resize.
        seed: of the augmentation; sample i is a pure function of (seed, i).

    Items are dictionaries: "image" uint8 [3,H,W] RGB, "depth" float32 [H,W] metres (0 = unknown),
    "normals" float32 [3,H,W] (0 = unknown), "labels" int64 [H,W] (255 = unknown), "boundary"
    float32 [H,W] (0 or 1), "focal_px" float32.

    Raises:
        DatasetError: a folder is no rendered dataset or is empty.
    """

    def __init__(
        self, folders: list[Path], size: tuple[int, int], train: bool, seed: int = 0
    ) -> None:
        self.frames = [frame for folder in folders for frame in read_index(folder)]
        self.size = size
        self.train = train
        self.seed = seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: int) -> dict[str, Tensor]:
        """`key` may exceed the length: it also seeds the augmentation (see `EndlessSampler`)."""
        sample = read_frame(self.frames[key % len(self.frames)])
        if self.train:
            sample = augment(sample, self.size, np.random.default_rng((self.seed, key)))
        else:
            sample = fit(sample, self.size)
        return {
            "image": torch.from_numpy(sample.color.transpose(2, 0, 1).copy()),
            "depth": torch.from_numpy(sample.depth),
            "normals": torch.from_numpy(sample.normals.transpose(2, 0, 1).copy()),
            "labels": torch.from_numpy(sample.labels.astype(np.int64)),
            "boundary": torch.from_numpy(boundaries(sample.labels, sample.depth)),
            "focal_px": torch.tensor(sample.focal_px, dtype=torch.float32),
        }


class EndlessSampler(Sampler[int]):
    """Shuffled keys without end; resuming at `start` gives the same keys as an unbroken run."""

    def __init__(self, length: int, seed: int, start: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[int]:
        epoch, offset = divmod(self.start, self.length)
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
            yield from (int(i) + epoch * self.length for i in order[offset:])
            epoch, offset = epoch + 1, 0


def boundaries(labels: NDArray[np.uint8], depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the class changes or the depth jumps by more than a tenth: [H,W] float32, 0 or 1."""
    edge = np.zeros(labels.shape, np.float32)
    for axis in (0, 1):
        other, nearer = np.roll(labels, -1, axis), np.minimum(depth, np.roll(depth, -1, axis))
        jump = np.abs(depth - np.roll(depth, -1, axis)) > 0.1 * nearer
        edge[(labels != other) | jump] = 1.0
    edge[-1], edge[:, -1] = 0.0, 0.0  # the last row and column have no neighbour
    return edge


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
            frames.append(RoomFrame(folder, str(entry["id"]), float(entry["fx"])))
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off by a kill; its frame is rendered again on resume
    if not frames:
        raise DatasetError(f"{path}: holds no frames")
    return frames


def read_frame(frame: RoomFrame) -> Sample:
    """Decode the four pictures of a frame.

    Raises:
        DatasetError: one of them is missing or damaged.
    """
    stem = str(frame.folder / "frames" / frame.id)
    color = _read(f"{stem}.color.jpg", cv2.IMREAD_COLOR)
    depth = _read(f"{stem}.depth.png", cv2.IMREAD_UNCHANGED)
    normals = _read(f"{stem}.normal.png", cv2.IMREAD_COLOR)[..., ::-1]
    labels = _read(f"{stem}.label.png", cv2.IMREAD_UNCHANGED)
    unit = normals.astype(np.float32) / 127.5 - 1.0
    unit[(normals == 0).all(axis=2)] = 0.0
    return Sample(
        color=np.ascontiguousarray(color[..., ::-1]),
        depth=depth.astype(np.float32) / 1000.0,
        normals=unit,
        labels=labels,
        focal_px=frame.focal_px,
    )


def _read(path: str, flag: int) -> NDArray[np.uint8]:
    picture = cv2.imread(path, flag)
    if picture is None:
        raise DatasetError(f"{path}: missing or damaged picture; render the dataset again")
    return picture  # type: ignore[return-value]
