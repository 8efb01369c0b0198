"""A few samples of a dataset: spread evenly, the ends among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.lab.datasets.excerpt import Excerpt
from pag_ros.lab.datasets.rooms import RoomPictures


@pytest.mark.parametrize(("most", "chosen"), [(0, []), (2, [0, -1]), (99, None)])
def test_samples_are_spread_from_the_first_to_the_last(
    most: int, chosen: list[int] | None, rooms: Path
) -> None:
    dataset = RoomPictures([rooms])
    excerpt = Excerpt(dataset, most)
    numbers = range(len(dataset)) if chosen is None else [n % len(dataset) for n in chosen]
    assert len(excerpt) == len(numbers)
    assert (excerpt.name, excerpt.classes) == (dataset.name, dataset.classes)
    for sample, number in zip(excerpt, numbers, strict=True):
        np.testing.assert_array_equal(sample.color, dataset[number].color)
