"""BSDS500: photographs with the boundaries that several people drew.

FOLDER/images/{train,val,test}/NAME.jpg and FOLDER/groundTruth/{train,val,test}/NAME.mat, below
BSDS500/data in the archive; or NAME.jpg beside NAME.mat in one folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.sample import Sample
from pag_ros.reading import reading

FOCAL_PER_WIDTH = 1.0
"""fx as a share of the longer side: photographs without a calibration, and no depth to score."""


class Bsds500:
    """200 pictures for training, 100 for validation, 200 for testing."""

    classes: tuple[str, ...] = ()
    protocol = DepthProtocol()

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"bsds500 {split}"
        root = next(
            (folder / part for part in ("BSDS500/data", "data") if (folder / part).is_dir()), folder
        )
        published = (root / "images").is_dir()
        self._truths = root / "groundTruth" / split if published else root
        self._pictures = files.matching(root / "images" / split if published else root, "*.jpg")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index]
        color = files.read_color(picture)
        boundary = read_boundaries(self._truths / f"{picture.stem}.mat")
        files.same_size(picture, color, boundary[0])
        return Sample(color, FOCAL_PER_WIDTH * max(color.shape[:2]), boundary=boundary)


def read_boundaries(path: Path) -> NDArray[np.bool_]:
    """[A,H,W] of a groundTruth file's A annotators."""
    what = "a cell 'groundTruth' of structs with 'Boundaries' of one size"
    with reading(path, what, DatasetError):
        cells: Any = files.read_mat(path)["groundTruth"]
        maps = [np.asarray(cell["Boundaries"][0, 0]) > 0 for cell in cells.ravel()]
        return np.stack(maps).reshape(len(maps), *maps[0].shape[:2])
