"""Rendered rooms as a torch dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pag_ros.evaluation.rooms import read_frame, read_index
from pag_ros.training.augment import augment, fit


class Rooms(Dataset[dict[str, Tensor]]):
    """Frames of one or more rendered datasets.

    Args:
        folders: each one written by `pag_ros data render`.
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
