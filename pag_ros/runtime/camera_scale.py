"""Sets the scale of one camera's depth by the floor that its pictures show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.image.camera_info import Intrinsics
from pag_ros.image.letterbox import Letterbox
from pag_ros.manifest import Manifest
from pag_ros.runtime.floor_scale import GROUND_CLASSES, Mount, Sampled, sight_floor
from pag_ros.runtime.scale_filter import ScaleFilter, ScaleReport
from pag_ros.runtime.session import Prediction

SAMPLED_PIXELS = 4800
"""Of a picture, about; every fourth row and column of 320x240."""

Rescale = Callable[[Prediction, Letterbox], Prediction]
"""Sets the scale of a prediction's depth; the box is the picture's place in it."""


class CameraScale:
    """The scale of one camera's depth, over its pictures.

    Attributes:
        report: of the newest picture.

    Args:
        manifest: of the model. One without a class of ground has the floor found by normals alone.

    Raises:
        ParameterError: the model has no normals, or no depth.
    """

    def __init__(self, manifest: Manifest) -> None:
        for head in ("depth", "normals"):
            if head not in manifest.heads:
                raise ParameterError(
                    f"the camera's height is of no use to {manifest.name}, which has no {head}; "
                    "leave it out"
                )
        self.report = ScaleReport()
        self._is_ground = _ground_ids(manifest)
        self._filter = ScaleFilter()
        self._grid: _Grid | None = None

    def of_frame(self, intrinsics: Intrinsics, mount: Mount | None, time_s: float) -> Rescale:
        """What sets the scale of a picture's depth.

        Args:
            intrinsics: of the camera, pixels of the picture; new ones begin anew.
            mount: of the camera; None where it is not known at the moment.
            time_s: when the picture was taken; a jump back begins anew.
        """

        def rescale(prediction: Prediction, box: Letterbox) -> Prediction:
            sampled = self._sample(prediction, box, intrinsics)
            sighting = None if mount is None else sight_floor(sampled, mount)
            self.report = self._filter.follow(sighting, time_s)
            return replace(prediction, depth=prediction.depth * np.float32(self.report.factor))

        return rescale

    def _sample(self, prediction: Prediction, box: Letterbox, intrinsics: Intrinsics) -> Sampled:
        if self._grid is None or (self._grid.box, self._grid.intrinsics) != (box, intrinsics):
            if self._grid is not None and self._grid.intrinsics != intrinsics:
                self._filter = ScaleFilter()
            self._grid = _Grid.of(box, intrinsics)
        rows_columns = self._grid.pixels
        return Sampled(
            rays=self._grid.rays,
            depth=prediction.depth[rows_columns].ravel(),
            normals=prediction.normals[rows_columns].reshape(-1, 3),
            is_ground=self._is_ground.take(prediction.labels[rows_columns].ravel()),
        )


@dataclass(frozen=True)
class _Grid:
    """The pixels that are looked at.

    Attributes:
        pixels: their rows and columns in the network's picture; none in the bars around it.
        rays: [n,3] float32, through them, z = 1.
    """

    box: Letterbox
    intrinsics: Intrinsics
    pixels: tuple[slice, slice]
    rays: NDArray[np.float32]

    @classmethod
    def of(cls, box: Letterbox, intrinsics: Intrinsics) -> _Grid:
        step = max(1, round(math.sqrt(box.height * box.width / SAMPLED_PIXELS)))
        rows, columns = (slice(s.start, s.stop, step) for s in box.inside)
        # The centre of the first pixel is (0, 0) in either picture.
        v = (np.arange(0, box.height, step) + 0.5) * box.camera[0] / box.height - 0.5
        u = (np.arange(0, box.width, step) + 0.5) * box.camera[1] / box.width - 0.5
        x = (u - intrinsics.cx) / intrinsics.fx
        y = (v - intrinsics.cy) / intrinsics.fy
        grid = np.stack([*np.meshgrid(x, y), np.ones((len(v), len(u)))], axis=-1)
        return cls(box, intrinsics, (rows, columns), grid.reshape(-1, 3).astype(np.float32))


def _ground_ids(manifest: Manifest) -> NDArray[np.bool_]:
    """[256] which class ids are ground; all of them where the model has no such class."""
    names = [entry.name for entry in manifest.classes] if "segmentation" in manifest.heads else []
    ids = [i for i, name in enumerate(names) if name in GROUND_CLASSES]
    is_ground = np.full(256, not ids)
    is_ground[ids] = True
    return is_ground
