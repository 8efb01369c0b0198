"""The pictures that gates are taught on: of any dataset, at the network's size, in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import TRAINING, Dataset, open_dataset
from pag_ros.lab.datasets.fitting import fit
from pag_ros.lab.datasets.rooms import INDEX

FEWEST = 16
MAX_BYTES = 1 << 28
"""Of all pictures together; of a larger set so many are taken, evenly spread."""

_MAX_HELD_BACK = 32


def open_pictures(spec: str) -> Dataset:
    """A dataset as `open_dataset` takes it, or any folder of JPEG and PNG files.

    Raises:
        DatasetError: there is no such dataset, or it holds fewer than `FEWEST` pictures.
    """
    folder = Path(spec)
    plain = folder.is_dir() and not (folder / INDEX).is_file()
    dataset = open_dataset(f"pictures:{spec}" if plain else spec, TRAINING)
    if len(dataset) < FEWEST:
        raise DatasetError(
            f"{spec}: {len(dataset)} pictures; gates are taught on {FEWEST} or more, "
            "better hundreds, of what the robot sees"
        )
    return dataset


def read_pictures(
    dataset: Dataset, size: tuple[int, int], progress: Callable[[], None] = lambda: None
) -> Tensor:
    """[N,3,H,W] uint8 RGB, letterboxed to `size` (width, height) as the node does.

    Args:
        progress: called after each picture; see `count_pictures`.

    Raises:
        DatasetError: a picture is damaged.
    """
    count = count_pictures(dataset, size)
    pictures = torch.empty(count, 3, size[1], size[0], dtype=torch.uint8)
    for place, index in enumerate(np.linspace(0, len(dataset) - 1, count).astype(int)):
        color = fit(dataset[int(index)], size).color
        pictures[place] = torch.from_numpy(color).permute(2, 0, 1)
        progress()
    return pictures


def count_pictures(dataset: Dataset, size: tuple[int, int]) -> int:
    """How many `read_pictures` takes."""
    return min(len(dataset), max(FEWEST, MAX_BYTES // (3 * size[0] * size[1])))


def held_back(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """(to learn from, to measure on): the last tenth, for neighbours are alike."""
    count = min(_MAX_HELD_BACK, max(2, len(pictures) // 10))
    return pictures[:-count], pictures[-count:]
