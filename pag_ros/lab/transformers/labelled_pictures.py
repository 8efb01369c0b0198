"""The pictures that a head for labels is taught on: of several datasets, at the network's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import TRAINING, Dataset, open_dataset
from pag_ros.lab.datasets.class_names import plain
from pag_ros.lab.datasets.fitting import fit
from pag_ros.manifest import MAX_CLASSES, NO_LABEL

FEWEST = 16
MAX_BYTES = 1 << 30
"""Of all pictures together; of a larger set so many are taken, evenly spread."""
STEP = 2
"""Labels are kept of every second row and column: finer ones the head does not tell."""

_MAX_HELD_BACK = 64


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and their labels, in memory.

    Attributes:
        images: [N,3,H,W] uint8 RGB.
        labels: [N,h,w] uint8 class ids of every `STEP`th pixel; `NO_LABEL` = unknown.
        runner_up: [N,2,h,w] uint8, see `Sample.runner_up`.
    """

    images: Tensor
    labels: Tensor
    runner_up: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def at(self, index: Tensor) -> LabelledPictures:
        """Those of the numbers [n]."""
        return LabelledPictures(self.images[index], self.labels[index], self.runner_up[index])


def open_labelled(specs: Sequence[str]) -> list[Dataset]:
    """Datasets as `open_dataset` takes them, whose labels mean the same.

    Raises:
        DatasetError: there is no such dataset, it names no classes, its classes are others than
            those of the first, or all together hold fewer than `FEWEST` pictures.
    """
    datasets = [open_dataset(spec, TRAINING) for spec in specs]
    for spec, dataset in zip(specs, datasets, strict=True):
        if not 1 <= len(dataset.classes) <= MAX_CLASSES:
            raise DatasetError(f"{spec}: names {len(dataset.classes)} classes; labels need some")
        if _plain(dataset) != _plain(datasets[0]):
            raise DatasetError(
                f"{spec}: its classes are {', '.join(dataset.classes)}; those of {specs[0]} are "
                f"{', '.join(datasets[0].classes)}; datasets that teach together have the same"
            )
    count = sum(map(len, datasets))
    if count < FEWEST:
        raise DatasetError(
            f"{specs[0]}: {count} pictures; labels are taught on {FEWEST} or more, better hundreds"
        )
    return datasets


def count_labelled(datasets: Sequence[Dataset], size: tuple[int, int]) -> list[int]:
    """How many pictures of each `read_labelled` takes: of many, of each the same share."""
    most = MAX_BYTES // ((3 + 3 / STEP**2) * size[0] * size[1])
    share = min(1.0, most / sum(map(len, datasets)))
    return [max(1, int(share * len(dataset))) for dataset in datasets]


def read_labelled(
    datasets: Sequence[Dataset],
    size: tuple[int, int],
    progress: Callable[[], object] = lambda: None,
) -> tuple[LabelledPictures, LabelledPictures]:
    """(to learn from, to measure on): the last tenth of each dataset, at least one picture, for
    neighbours are alike.

    Args:
        size: (width, height), to which pictures are letterboxed as the node does.
        progress: called after each picture; see `count_labelled`.

    Raises:
        DatasetError: a picture is damaged, or there are labels in too few of them.
    """
    learned, unseen = [], []
    for dataset, count in zip(datasets, count_labelled(datasets, size), strict=True):
        chosen = np.linspace(0, len(dataset) - 1, count).astype(int)
        samples = [_sample(dataset, int(index), size, progress) for index in chosen]
        known = [sample for sample in samples if sample is not None]
        last = min(_MAX_HELD_BACK, max(1, len(known) // 10))
        learned += known[: len(known) - last]
        unseen += known[len(known) - last :]
    if len(learned) + len(unseen) < FEWEST:
        found = len(learned) + len(unseen)
        names = ", ".join(dataset.name for dataset in datasets)
        raise DatasetError(f"{names}: labels in {found} of the pictures; {FEWEST} or more teach")
    return _together(learned), _together(unseen)


_Maps = tuple[Tensor, Tensor, Tensor]


def _sample(
    dataset: Dataset, index: int, size: tuple[int, int], progress: Callable[[], object]
) -> _Maps | None:
    """Picture, labels and runner-up as `LabelledPictures` has them; None without labels."""
    sample = fit(dataset[index], size)
    progress()
    if sample.labels is None or not (sample.labels != NO_LABEL).any():
        return None
    labels = torch.from_numpy(np.ascontiguousarray(sample.labels[::STEP, ::STEP]))
    runner_up = torch.zeros(2, *labels.shape, dtype=torch.uint8)
    if sample.runner_up is not None:
        runner_up = torch.from_numpy(
            np.ascontiguousarray(sample.runner_up[::STEP, ::STEP].transpose(2, 0, 1))
        )
    return torch.from_numpy(sample.color).permute(2, 0, 1).contiguous(), labels, runner_up


def _together(samples: Sequence[_Maps]) -> LabelledPictures:
    images, labels, runner_up = zip(*samples, strict=True)
    return LabelledPictures(torch.stack(images), torch.stack(labels), torch.stack(runner_up))


def _plain(dataset: Dataset) -> list[str]:
    return [plain(name) for name in dataset.classes]
