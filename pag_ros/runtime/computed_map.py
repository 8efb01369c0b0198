"""Where the computation went: from the blocks' pixel lists to one picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ModelError
from pag_ros.manifest import Manifest


def computed_map(
    index: Sequence[NDArray[np.int32]], count: Sequence[int], manifest: Manifest
) -> NDArray[np.uint8]:
    """How many gated blocks ran at each pixel of the network's input.

    Args:
        index: for each block the pixels that it computed, numbered on its own grid.
        count: how many entries of each list count.

    Returns:
        [H,W] uint8, 0 to L.

    Raises:
        ModelError: a number is none of a block's pixels.
    """
    listed: dict[tuple[int, int], list[NDArray[np.int32]]] = {}
    for block, pixels, used in zip(manifest.blocks, index, count, strict=True):
        listed.setdefault((block.height, block.width), []).append(pixels[:used])
    computed = np.zeros((manifest.height, manifest.width), np.uint8)
    for (height, width), lists in listed.items():
        pixels = np.concatenate(lists)
        # A damaged graph may give any numbers, and counting them would allocate the largest.
        if pixels.size and not 0 <= pixels.min() <= pixels.max() < height * width:
            raise ModelError(f"{manifest.name}: it lists pixels outside a block's grid; damaged?")
        runs = np.bincount(pixels, minlength=height * width).astype(np.uint8)
        computed += _enlarged(runs.reshape(height, width), computed.shape)
    return computed


def _enlarged(small: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), np.uint8)
