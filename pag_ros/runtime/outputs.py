"""What the network says of every pixel: each output once, and which of the model's heads gives it.

Sessions, frames, files, topics and scores name their maps by this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pag_ros.image.enlarging import Enlarger
from pag_ros.manifest import NO_LABEL, Manifest

COMPUTED = "computed"
"""The part that every model has: it tells where its blocks ran, and is no head."""


@dataclass(frozen=True)
class Output:
    """One map of a frame.

    Attributes:
        name: of the model's tensor, and the field of `Prediction` and `FrameResult`.
        part: of the model that it comes from: one of its heads, or `COMPUTED`.
        dtype: of its numbers.
        enlarge: makes it [h,w] or [h,w,channels] of the size that is asked for.
        channels: numbers a pixel; a single one has no axis.
        absent: what it is filled with where the model lacks the head; None: there is no map then.
    """

    name: str
    part: str
    dtype: type[np.generic]
    enlarge: Callable[[Enlarger, NDArray[Any]], NDArray[Any]]
    channels: int = 1
    absent: float | None = None

    @property
    def bytes_per_pixel(self) -> int:
        return np.dtype(self.dtype).itemsize * self.channels

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the map of a picture of that size."""
        return (height, width) if self.channels == 1 else (height, width, self.channels)


OUTPUTS = (
    Output("depth", "depth", np.float32, Enlarger.values, absent=np.nan),
    Output("normals", "normals", np.float32, Enlarger.normals, 3, absent=np.nan),
    Output("labels", "segmentation", np.uint8, Enlarger.labels, absent=NO_LABEL),
    Output("confidence", "segmentation", np.float32, Enlarger.values, absent=0.0),
    Output("boundary", "boundary", np.float32, Enlarger.values),
    Output("computed", COMPUTED, np.uint8, Enlarger.labels),
)
BY_NAME = {output.name: output for output in OUTPUTS}
NAMES = frozenset(BY_NAME)
"""All that a frame can be asked for."""


def maps_of(manifest: Manifest) -> frozenset[str]:
    """Names of the outputs that a model has."""
    parts = {COMPUTED, *manifest.heads}
    return frozenset(output.name for output in OUTPUTS if output.part in parts)


class Maps(Protocol):
    """What has a frame's maps: a `Prediction` or a `FrameResult`. None: there is no such map."""

    @property
    def depth(self) -> NDArray[np.float32] | None: ...
    @property
    def normals(self) -> NDArray[np.float32] | None: ...
    @property
    def labels(self) -> NDArray[np.uint8] | None: ...
    @property
    def confidence(self) -> NDArray[np.float32] | None: ...
    @property
    def boundary(self) -> NDArray[np.float32] | None: ...
    @property
    def computed(self) -> NDArray[np.uint8] | None: ...


def maps_in(result: Maps) -> dict[str, Any]:
    """The maps that there are, by name; they are arrays of several types."""
    maps = {output.name: getattr(result, output.name) for output in OUTPUTS}
    return {name: pixels for name, pixels in maps.items() if pixels is not None}
