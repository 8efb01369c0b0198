"""Depth without a scale, brought to that of another depth of the same picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST_M = 40.0
_MIN_PIXELS = 100
_ROUNDS = 3
_KEPT = 0.8
"""Share of the pixels, those that fit best, that the next round goes by."""


def fit_scale(
    relative: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Relative depth [h,w] times the factor by which it fits, None if it cannot be told.

    The factor is the median ratio; pixels at or below 0 are unknown.

    Args:
        reference: [h,w] float32 metres, NaN = unknown.
    """
    known = np.isfinite(relative) & np.isfinite(reference) & (relative > 0.0) & (reference > 0.0)
    if known.sum() < _MIN_PIXELS:
        return None
    factor = np.float32(np.median(reference[known] / relative[known]))
    return _plausible(relative * factor)


def fit_inverse(
    inverse: NDArray[np.float32], reference: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Depth [h,w] from inverse depth of unknown factor and offset, None if it cannot be told.

    The two numbers of a picture are fitted to the inverse of the reference by least squares, three
    times, each time to the four fifths that fit best: where the reference is wrong about a thing,
    the thing is not to bend the rest (Ranftl et al., TPAMI 2022, align alike).

    Args:
        reference: [h,w] float32 metres, NaN = unknown.
    """
    known = np.isfinite(inverse) & np.isfinite(reference) & (reference > 0.0)
    if known.sum() < _MIN_PIXELS:
        return None
    x, y = inverse[known].astype(np.float64), 1.0 / reference[known].astype(np.float64)
    if np.ptp(x) <= 0.0:
        return None
    used = np.ones(x.size, bool)
    slope = offset = 0.0
    for _ in range(_ROUNDS):
        slope, offset = np.polyfit(x[used], y[used], 1)
        error = np.abs(slope * x + offset - y)
        used = error <= np.quantile(error, _KEPT)
    if slope <= 0.0:
        return None
    fitted = slope * inverse.astype(np.float64) + offset
    with np.errstate(divide="ignore"):
        return _plausible((1.0 / np.maximum(fitted, 0.0)).astype(np.float32))


def _plausible(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unknown where it is no depth of a room."""
    counts = np.isfinite(depth) & (depth > 0.0) & (depth <= FARTHEST_M)
    return np.where(counts, depth, np.float32(np.nan)).astype(np.float32)
