"""A few samples of a dataset, in place of all."""

from __future__ import annotations

import numpy as np

from pag_ros.lab.datasets.sample import Dataset, Sample


class Excerpt:
    """At most so many samples of a dataset, evenly from its first to its last.

    Args:
        most: 0 or more.
    """

    def __init__(self, dataset: Dataset, most: int) -> None:
        self.name, self.classes, self.protocol = dataset.name, dataset.classes, dataset.protocol
        self._dataset = dataset
        count = min(most, len(dataset))
        self._chosen = [int(index) for index in np.linspace(0, len(dataset) - 1, count)]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        """See `Dataset.__getitem__`."""
        return self._dataset[self._chosen[index]]
