"""Pictures that nobody has labelled: the JPEG and PNG files in a folder and in those below it."""

from __future__ import annotations

from pathlib import Path

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.sample import Sample

SUFFIXES = (".jpg", ".jpeg", ".png")
FOCAL_PER_SIDE = 0.9
"""Focal length over the longer side: a guess, of a photograph with a common lens."""


class PictureFolder:
    """The pictures of a folder, in the order of their names; there is no truth.

    Raises:
        DatasetError: there is none.
    """

    protocol = DepthProtocol()
    classes: tuple[str, ...] = ()

    def __init__(self, folder: Path, split: str = "all") -> None:
        self.name = f"pictures {folder.name}"
        self.paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise DatasetError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        color = files.read_color(self.paths[index])
        return Sample(color, FOCAL_PER_SIDE * max(color.shape[:2]))
