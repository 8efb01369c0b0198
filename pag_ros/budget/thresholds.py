"""Thresholds on the gates' scores: fewer pixels in an easy scene, more in a hard one.

Of a block's scores over many frames, the share above its threshold is the share it may compute on
average. The threshold follows that quantile by stochastic approximation (Robbins and Monro, 1951).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LOWEST_GAIN = 0.03
"""Score per unit of share: so slow that a scene of some seconds keeps its own share of pixels."""
_GAIN_AT_START = 3.0


class Thresholds:
    """One threshold for each gated block.

    Args:
        pixels: of each block.
    """

    def __init__(self, pixels: Sequence[int]) -> None:
        self._pixels = np.asarray(pixels, np.float64)
        self._scores: NDArray[np.float64] = np.zeros(len(pixels))
        self._frames = 0

    @property
    def values(self) -> tuple[float, ...]:
        """Scores that a pixel must exceed."""
        return tuple(self._scores.tolist())

    def observe(
        self, allowed: Sequence[int], used: Sequence[int], wanted_on_average: Sequence[int]
    ) -> None:
        """Learn from a frame.

        Args:
            allowed: the most pixels that each block could have computed.
            used: the pixels above its threshold, as far as they were allowed.
            wanted_on_average: pixels that each block shall compute in the mean over frames.
        """
        self._frames += 1
        gain = max(_LOWEST_GAIN, _GAIN_AT_START / self._frames)
        error = (np.asarray(used) - np.asarray(wanted_on_average)) / self._pixels
        # A block at its limit does not tell how many pixels it would have liked to compute.
        capped = (np.asarray(used) >= np.asarray(allowed)) & (error < 0.0)
        self._scores += np.where(capped, 0.0, gain * error)
