"""Classes that a model and a dataset have in common, found by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import NO_LABEL, LabelClass

NO_CLASS = 254
"""A prediction that is none of the common classes: wrong wherever the truth is one of them."""


@dataclass(frozen=True)
class CommonClasses:
    """Tables from two lists of classes to those in both.

    Attributes:
        names: of the common classes.
        of_model: [256] uint8, the model's id -> common id, else `NO_CLASS`.
        of_dataset: [256] uint8, the dataset's id -> common id, else `NO_LABEL`.
        same: both lists are equal.
    """

    names: tuple[str, ...]
    of_model: NDArray[np.uint8]
    of_dataset: NDArray[np.uint8]
    same: bool


def common_classes(model: Sequence[LabelClass], dataset: Sequence[str]) -> CommonClasses:
    """Match classes by name; capitals, blanks, hyphens and underscores do not matter.

    A dataset without names (rooms rendered before they were written) has the model's ids.
    """
    names = [plain(c.name) for c in model]
    others = [plain(name) for name in dataset]
    # Labels without names are either absent or the model's own ids.
    others = others or names
    common = [name for name in names if name in others]
    return CommonClasses(
        tuple(common),
        mapping(names, common, NO_CLASS),
        mapping(others, common, NO_LABEL),
        names == others,
    )


def mapping(source: Sequence[str], target: Sequence[str], other: int) -> NDArray[np.uint8]:
    """[256] id in `source` -> id of the same name in `target`, else `other`."""
    table = np.full(256, other, np.uint8)
    wanted = [plain(name) for name in target]
    for number, name in enumerate(source):
        if plain(name) in wanted:
            table[number] = wanted.index(plain(name))
    return table


def plain(name: str) -> str:
    """A class's name in small letters with single blanks."""
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())
