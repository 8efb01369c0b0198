"""Lists of active pixels as gates make them: anywhere, or in patches."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros import kernels

Mask = Literal["random", "blobs"]
MASKS: tuple[Mask, ...] = ("random", "blobs")


def listed_pixels(
    mask: Mask, height: int, width: int, density: float, seed: int = 0
) -> tuple[NDArray[np.int32], int]:
    """The list [H*W] of active pixels and how many it holds.

    Args:
        mask: "random", every pixel alone; "blobs", patches about a fifth of the map wide.
        density: share of active pixels, 0 to 1.
    """
    score = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    if mask == "blobs":
        score = cv2.GaussianBlur(score, (0, 0), max(height, width) / 12).astype(np.float32)
    keep = round(density * height * width)
    return kernels.select(np.ascontiguousarray(score), keep), keep
