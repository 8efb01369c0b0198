"""Maps of the network, brought to the size of the outputs: each kind of number in its own way.

They get room around them (`headroom`), for most of them become messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros import kernels
from pag_ros.image.headroom import empty_with_room
from pag_ros.image.letterbox import Letterbox

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True)
class Enlarger:
    """Enlarges what lies inside the bars of a letterbox; what has its size already is not copied.

    Attributes:
        box: tells the size of the outputs.
        workspace: threads and buffers; None takes the calling thread alone.
    """

    box: Letterbox
    workspace: kernels.Workspace | None = None

    def values(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H,W] or [H,W,C] float32 -> output size, bilinear; NaN spreads, it is never averaged."""
        return self._resized(picture, cv2.INTER_LINEAR)

    def labels(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[H,W] uint8 -> output size, nearest neighbour."""
        return self._resized(picture, cv2.INTER_NEAREST)

    def normals(self, normals: NDArray[np.float32]) -> NDArray[np.float32]:
        """[H,W,3] float32 unit vectors -> output size, bilinear and unit again."""
        inner = normals[self.box.inside]
        height, width = self.box.output
        if self.box.output == inner.shape[:2]:
            return inner
        return kernels.enlarge_normals(
            np.ascontiguousarray(inner),
            height,
            width,
            out=empty_with_room((height, width, 3), np.float32),
            workspace=self.workspace,
        )

    def _resized(self, picture: NDArray[_Value], method: int) -> NDArray[_Value]:
        inner = picture[self.box.inside]
        height, width = self.box.output
        if self.box.output == inner.shape[:2]:
            return inner
        result = empty_with_room((height, width, *picture.shape[2:]), picture.dtype.type)
        return cv2.resize(inner, (width, height), result, interpolation=method)  # type: ignore
