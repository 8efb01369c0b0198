"""Labelled datasets, each read with the splits, crops, caps and classes its publications use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.bsds import Bsds500
from pag_ros.lab.datasets.cityscapes import Cityscapes
from pag_ros.lab.datasets.kitti import KittiDepth, KittiSemantic
from pag_ros.lab.datasets.nyuv2 import NyuV2
from pag_ros.lab.datasets.picture_folder import PictureFolder
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.datasets.s2d3d import SPLITS as S2D3D_SPLITS
from pag_ros.lab.datasets.s2d3d import Stanford2D3DS
from pag_ros.lab.datasets.sample import Dataset, Sample
from pag_ros.lab.datasets.seven_scenes import SevenScenes
from pag_ros.lab.datasets.wilddash import WildDash

__all__ = ["NAMES", "TRAINING", "Dataset", "Sample", "open_dataset", "split_spec"]

TRAINING = "training"
"""Stands for whichever split a dataset trains on."""


@dataclass(frozen=True)
class _Entry:
    """How a dataset is opened, and its splits: the first is scored, `trained` is trained on."""

    open: Callable[[Path, str], Dataset]
    splits: tuple[str, ...]
    trained: str


_DATASETS = {
    "nyuv2-40": _Entry(lambda path, split: NyuV2(path, split, 40), ("test", "train"), "train"),
    "nyuv2-13": _Entry(lambda path, split: NyuV2(path, split, 13), ("test", "train"), "train"),
    "kitti-depth": _Entry(KittiDepth, ("test", "val", "train"), "train"),
    "kitti-semantic": _Entry(KittiSemantic, ("train",), "train"),
    "cityscapes": _Entry(Cityscapes, ("val", "train"), "train"),
    "s2d3d": _Entry(Stanford2D3DS, S2D3D_SPLITS, "train"),
    "bsds500": _Entry(Bsds500, ("test", "val", "train"), "train"),
    "wilddash": _Entry(WildDash, ("all",), "all"),
    "seven-scenes": _Entry(SevenScenes, ("test", "train", "all"), "train"),
    "pictures": _Entry(PictureFolder, ("all",), "all"),
    "rooms": _Entry(lambda path, split: RoomPictures([path], split), ("all",), "all"),
}

NAMES = tuple(_DATASETS)


def open_dataset(spec: str | Path, split: str | None = None) -> Dataset:
    """Open a dataset.

    Args:
        spec: "NAME:PATH" with a name of `NAMES`, or a folder of `pag_ros data render`.
        split: as the dataset calls it; None for the one that is scored, `TRAINING` for the one that
            is trained on. KITTI depth takes the name of a list in its folder, too (*.txt).

    Raises:
        DatasetError: no such dataset or split, or it is missing, damaged or in another layout.
    """
    name, path = split_spec(spec)
    entry = _DATASETS[name]
    if split is None or split == TRAINING:
        split = entry.splits[0] if split is None else entry.trained
    listed = name == "kitti-depth" and split.endswith(".txt")
    if split not in entry.splits and not listed:
        raise DatasetError(f"{name} has no split {split!r}; it has {', '.join(entry.splits)}")
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; see docs/datasets.md for the layout of {name}")
    return entry.open(path, split)


def split_spec(spec: str | Path) -> tuple[str, Path]:
    """ "NAME:PATH" -> name and path; a plain path is a folder of rendered rooms.

    Raises:
        DatasetError: the name is none of `NAMES` and no such folder exists.
    """
    name, colon, path = str(spec).partition(":")
    if isinstance(spec, Path) or not colon or Path(spec).exists():
        return "rooms", Path(spec)
    if name not in _DATASETS:
        raise DatasetError(f"{spec}: no dataset is called {name!r}; there are {', '.join(NAMES)}")
    return name, Path(path).expanduser()
