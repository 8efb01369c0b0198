"""Labelled pictures as a torch dataset: rendered rooms, or any other that can be scored."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import TRAINING, Sample, open_dataset
from pag_ros.lab.datasets.class_names import mapping
from pag_ros.lab.datasets.fitting import fit
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.training.augment import photograph, reframe
from pag_ros.manifest import NO_LABEL

UNKNOWN_BOUNDARY = -1.0


class Rooms(Dataset[dict[str, Tensor]]):
    """Samples of one or more labelled datasets, one after the other.

    Args:
        folders: each "NAME:PATH" (see docs/datasets.md) or a folder of `pag_ros data render`.
        size: (width, height) of the samples.
        train: augment at random, and take the splits to train on; else only resize, and take
            those to score on.
        seed: of the augmentation; sample i is a pure function of (seed, i).
        flaws: share of the samples to train on that get a camera's flaws, see `photograph`.
        classes: names of the label ids; if None those of the first dataset that has any. Labels
            of datasets with another list are mapped by name, unmatched ones become unknown.

    Items are dictionaries: "image" uint8 [3,H,W] RGB; "plain", when training, the same before a
    camera's flaws; "depth" float32 [H,W] metres (NaN = unknown),
    "normals" float32 [3,H,W] (NaN = unknown), "labels" int64 [H,W] (`NO_LABEL` = unknown),
    "runner_up" uint8 [2,H,W] (see `Sample`; a share of 0 where there is none),
    "boundary" float32 [H,W] (0 or 1, -1 = unknown), "focal_px" float32. A truth that a dataset does
    not have is unknown everywhere.

    Raises:
        DatasetError: a dataset is missing, damaged or empty, or shares no class with `classes`.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        size: tuple[int, int],
        train: bool,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        flaws: float = 1.0,
    ) -> None:
        self.datasets = [open_dataset(spec, TRAINING if train else None) for spec in folders]
        self.size = size
        self.train = train
        self.seed = seed
        self.flaws = flaws
        if classes is None:
            classes = next((d.classes for d in self.datasets if d.classes), ())
        self.classes = tuple(classes)
        self._tables = [_label_table(d.name, d.classes, self.classes) for d in self.datasets]
        self._ends = list(accumulate(len(d) for d in self.datasets))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of each dataset."""
        return tuple(len(dataset) for dataset in self.datasets)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, key: int) -> dict[str, Tensor]:
        """`key` may exceed the length: it also seeds the augmentation (see `EndlessSampler`)."""
        index = key % len(self)
        if not self.train:
            return self.frame(index, self.size)
        number, sample = self._sample(index)
        rng = np.random.default_rng((self.seed, key))
        sample = reframe(sample, self.size, rng)
        item = self._item(number, sample)
        flawed = item["image"]
        if self.flaws == 1.0 or rng.random() < self.flaws:
            flawed = _planes(photograph(sample.color, rng))
        return {**item, "plain": item["image"], "image": flawed}

    def frame(self, index: int, size: tuple[int, int]) -> dict[str, Tensor]:
        """Sample `index` as it is, at `size` (width, height)."""
        number, sample = self._sample(index)
        return self._item(number, fit(sample, size))

    def native_width(self, index: int) -> int:
        """Width in pixels of sample `index` as it is stored."""
        return int(self._sample(index)[1].color.shape[1])

    def _sample(self, index: int) -> tuple[int, Sample]:
        """The number of its dataset, and the sample."""
        number = bisect_right(self._ends, index)
        first = self._ends[number - 1] if number else 0
        return number, self.datasets[number][index - first]

    def _item(self, number: int, sample: Sample) -> dict[str, Tensor]:
        dataset = self.datasets[number]
        exact = isinstance(dataset, RoomPictures) and dataset.exact
        return _item(sample, self._tables[number], exact)


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


class MixedSampler(Sampler[int]):
    """Keys of several datasets without end, each with its share of any stretch of them.

    Args:
        lengths: of the datasets, as they follow one another in `Rooms`.
        shares: of each, above 0.
        seed, start: as of `EndlessSampler`.
    """

    def __init__(
        self, lengths: Sequence[int], shares: Sequence[float], seed: int, start: int = 0
    ) -> None:
        self.lengths = lengths
        self.shares = [share / sum(shares) for share in shares]
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[int]:
        firsts = [0, *accumulate(self.lengths)]
        drawn = [0] * len(self.lengths)
        orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        for position in count():
            # The one that lags most behind its share.
            number = max(
                range(len(drawn)), key=lambda i: self.shares[i] * (position + 1) - drawn[i]
            )
            epoch, offset = divmod(drawn[number], self.lengths[number])
            drawn[number] += 1
            if position < self.start:
                continue
            if number not in orders or orders[number][0] != epoch:
                rng = np.random.default_rng((self.seed, number, epoch))
                orders[number] = epoch, rng.permutation(self.lengths[number])
            yield firsts[number] + int(orders[number][1][offset]) + epoch * firsts[-1]


def boundaries(labels: NDArray[np.uint8], depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where the class changes or the depth jumps by more than a tenth: [H,W] float32, 0 or 1.

    From known to unknown depth (NaN) is a jump, too.
    """
    known = np.isfinite(depth)
    edge = np.zeros(labels.shape, np.float32)
    for axis in (0, 1):
        other, nearer = np.roll(labels, -1, axis), np.minimum(depth, np.roll(depth, -1, axis))
        jump = np.abs(depth - np.roll(depth, -1, axis)) > 0.1 * nearer
        ends = known != np.roll(known, -1, axis)
        edge[(labels != other) | jump | ends] = 1.0
    edge[-1], edge[:, -1] = 0.0, 0.0  # the last row and column have no neighbour
    return edge


def agreed(drawn: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Boundaries [A,H,W] of several annotators as one truth [H,W] float32.

    1 where half of them or more drew one, 0 where nobody did, unknown (-1) between: as HED and its
    successors train (Xie and Tu, ICCV 2015).
    """
    share = drawn.mean(axis=0)
    doubtful = np.where(share > 0.0, UNKNOWN_BOUNDARY, 0.0)
    return np.where(share >= 0.5, 1.0, doubtful).astype(np.float32)


def _item(sample: Sample, table: NDArray[np.uint8], exact: bool) -> dict[str, Tensor]:
    """A sample as tensors, unknown where it has no truth."""
    shape = sample.color.shape[:2]
    depth = np.full(shape, np.nan, np.float32) if sample.depth is None else sample.depth
    normals = sample.normals
    if normals is None:
        normals = np.full((*shape, 3), np.nan, np.float32)
    labels = np.full(shape, NO_LABEL, np.uint8)
    if sample.labels is not None:
        labels = table.take(sample.labels)
    runner_up = np.zeros((2, *shape), np.uint8)
    if sample.runner_up is not None:
        runner_up = _runner_up(sample.runner_up, table)
    if sample.boundary is not None:
        boundary = agreed(sample.boundary)
    elif exact and sample.depth is not None and sample.labels is not None:
        boundary = boundaries(labels, depth)
    else:
        boundary = np.full(shape, UNKNOWN_BOUNDARY, np.float32)
    return {
        "image": _planes(sample.color),
        "depth": torch.from_numpy(depth),
        "normals": torch.from_numpy(normals.transpose(2, 0, 1).copy()),
        "labels": torch.from_numpy(labels.astype(np.int64)),
        "runner_up": torch.from_numpy(runner_up),
        "boundary": torch.from_numpy(boundary),
        "focal_px": torch.tensor(sample.focal_px, dtype=torch.float32),
    }


def _runner_up(stored: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[2,H,W] from [H,W,2]: classes by `table`; a class that is none of ours has no share."""
    second = table.take(stored[..., 0])
    return np.stack([second, np.where(second == NO_LABEL, 0, stored[..., 1])]).astype(np.uint8)


def _planes(color: NDArray[np.uint8]) -> Tensor:
    """[H,W,3] as [3,H,W]."""
    return torch.from_numpy(color.transpose(2, 0, 1).copy())


def _label_table(name: str, classes: Sequence[str], wanted: Sequence[str]) -> NDArray[np.uint8]:
    """[256] a dataset's label id -> id among the wanted classes, else `NO_LABEL`."""
    if not classes or not wanted or list(classes) == list(wanted):
        return np.arange(256, dtype=np.uint8)
    table = mapping(classes, wanted, NO_LABEL)
    if (table == NO_LABEL).all():
        raise DatasetError(
            f"{name}: none of its classes is among {', '.join(list(wanted)[:5])}, ...; train on "
            "datasets with common classes"
        )
    return table
