"""Cityscapes: street scenes with 19 classes and depth from stereo.

FOLDER/leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png
FOLDER/gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png
FOLDER/disparity/{train,val}/CITY/NAME_disparity.png    optional; 16 bits, (p - 1) / 256 pixels
FOLDER/camera/{train,val}/CITY/NAME_camera.json         needed for the disparity
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.cityscapes_classes import CLASSES, train_ids
from pag_ros.lab.datasets.sample import Sample
from pag_ros.reading import reading

FOCAL_PX = 2262.52
"""fx of most sequences, for folders without camera files."""

_EGO_VEHICLE = 1


class Cityscapes:
    """Fine annotations: 2975 pictures for training, 500 for validation."""

    classes = CLASSES
    protocol = DepthProtocol(cap_m=80.0)

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"cityscapes {split}"
        self._folder, self._split = folder, split
        self._pictures = files.matching(folder / "leftImg8bit" / split, "*/*_leftImg8bit.png")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index]
        color = files.read_color(picture)
        label_ids = files.read_gray8(self._beside(picture, "gtFine", "gtFine_labelIds.png"))
        focal_px, baseline_m = self._camera(picture)
        depth = self._depth(picture, focal_px * baseline_m)
        files.same_size(picture, color, label_ids, depth)
        if depth is not None:
            depth[label_ids == _EGO_VEHICLE] = np.nan  # reflections on the bonnet
        return Sample(color, focal_px, depth=depth, labels=train_ids(label_ids))

    def _depth(self, picture: Path, focal_baseline: float) -> NDArray[np.float32] | None:
        path = self._beside(picture, "disparity", "disparity.png")
        if not path.is_file():
            return None
        return depth_of(files.read_gray16(path), focal_baseline)

    def _camera(self, picture: Path) -> tuple[float, float]:
        """Return fx in pixels and the stereo baseline in metres, 0 without a file."""
        path = self._beside(picture, "camera", "camera.json")
        if not path.is_file():
            if self._beside(picture, "disparity", "disparity.png").is_file():
                raise DatasetError(f"{path}: missing; disparity needs it (camera_trainvaltest.zip)")
            return FOCAL_PX, 0.0
        data = files.read_json(path)
        with reading(path, "a file with intrinsic.fx and extrinsic.baseline", DatasetError):
            focal_px = checks.number(data["intrinsic"]["fx"], "intrinsic.fx", 1e-3, 1e5)
            baseline_m = checks.number(data["extrinsic"]["baseline"], "baseline", 1e-6, 10.0)
            return focal_px, baseline_m

    def _beside(self, picture: Path, kind: str, ending: str) -> Path:
        name = picture.name.replace("leftImg8bit.png", ending)
        return self._folder / kind / self._split / picture.parent.name / name


def depth_of(disparity: NDArray[np.uint16], focal_baseline: float) -> NDArray[np.float32]:
    """Disparity [H,W] as stored to metres, NaN = unknown; `focal_baseline` in pixels x metres."""
    pixels = (disparity.astype(np.float32) - 1.0) / 256.0
    unknown = np.full_like(pixels, np.nan)
    depth = np.divide(np.float32(focal_baseline), pixels, out=unknown, where=pixels > 0.0)
    return np.asarray(depth, np.float32)
