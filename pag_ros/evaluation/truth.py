"""What is known of a picture, from a bag or a dataset, to compare outputs with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """Ground truth of one picture, each at its size or None.

    Attributes:
        depth: [h,w] float32 metres, NaN unknown.
        normals: [h,w,3] float32 unit, NaN unknown.
        labels: [h,w] uint8 class ids, `NO_LABEL` unknown.
        boundary: [A,h,w] bool, the boundaries as each of A annotators drew them.
    """

    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None
    boundary: NDArray[np.bool_] | None = None
