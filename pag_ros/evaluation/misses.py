"""Figures of missed deadlines: the interval of a rate, and the time until none is missed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SETTLED_FRAMES = 10
"""Frames in a row in time after which a controller has settled."""

_Z95 = 1.959964


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson, JASA 1927).

    Raises:
        ValueError: there are no trials, or more hits than trials.
    """
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"{hits} hits of {trials} trials")
    rate, square = hits / trials, _Z95**2 / trials
    centre = (rate + square / 2.0) / (1.0 + square)
    half = _Z95 * math.sqrt(rate * (1.0 - rate) / trials + square / (4.0 * trials))
    half /= 1.0 + square
    return max(0.0, centre - half), min(1.0, centre + half)


def frames_to_settle(late: NDArray[np.bool_]) -> int:
    """Where the first `SETTLED_FRAMES` frames in a row without a late one begin; else all."""
    frames = len(late)
    begin = 0
    for position in [*np.flatnonzero(late).tolist(), frames]:
        if position - begin >= SETTLED_FRAMES:
            return begin
        begin = position + 1
    return frames
