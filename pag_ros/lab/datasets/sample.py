"""One labelled picture, and what every dataset of them offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.image.camera_info import Intrinsics


@dataclass(frozen=True)
class Sample:
    """One labelled picture; a truth that its dataset does not have is None.

    Attributes:
        color: [H,W,3] uint8 RGB.
        focal_px: fx at this size.
        depth: [H,W] float32 metres, NaN = unknown.
        normals: [H,W,3] float32 unit, camera's optical frame, facing the camera, NaN = unknown.
        labels: [H,W] uint8, `NO_LABEL` = unknown.
        runner_up: [H,W,2] uint8 of labels by a teacher: the second likeliest class (`NO_LABEL` =
            none) and its share of the two, in 255ths.
        boundary: [A,H,W] bool, the boundaries as each of A annotators drew them.
    """

    color: NDArray[np.uint8]
    focal_px: float
    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None
    boundary: NDArray[np.bool_] | None = None
    runner_up: NDArray[np.uint8] | None = None

    @property
    def intrinsics(self) -> Intrinsics:
        """Of its camera, whose optical axis is taken to be in the picture's middle."""
        height, width = self.color.shape[:2]
        centre = (width - 1) / 2.0, (height - 1) / 2.0
        return Intrinsics(self.focal_px, self.focal_px, *centre)


class Dataset(Protocol):
    """Labelled pictures in a fixed order; each is read when it is asked for.

    Attributes:
        name: for people and as a key of results, e.g. "nyuv2-40 test".
        classes: names of the label ids 0, 1, ...; empty if there are no labels.
        protocol: which true depths count, as the published results have it.
    """

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def protocol(self) -> DepthProtocol: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DatasetError: one of its files is missing, damaged or of another kind or size.
            IndexError: there are fewer samples.
        """
        ...
