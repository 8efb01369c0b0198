"""From a teacher's scores to labels of ours, and the doubt that it has of them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import NO_LABEL

_SUM_TOLERANCE = 1e-2
_STEPS = 255


def class_shares(
    scores: NDArray[np.float32], classes: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """The probability of each of our classes, which may be several of the teacher's.

    Args:
        scores: [C,h,w] of its classes, logits or probabilities.
        classes: of each of ours, the ids that count as it.

    Returns:
        [K+1,h,w] of our K classes; the last is that of all that is none of them.

    Raises:
        ValueError: it has no class of some id.
    """
    for ids in classes:
        if any(number >= len(scores) for number in ids):
            raise ValueError(f"gives {len(scores)} classes, and the recipe names id {max(ids)}")
    probabilities = _probabilities(scores)
    shares = [probabilities[list(ids)].sum(0) for ids in classes]
    return np.stack([*shares, 1.0 - np.sum(shares, axis=0)]).astype(np.float32)


def as_labels(
    shares: NDArray[np.float32], mirrored: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels by what a teacher makes of a picture and of its mirror image.

    A pixel of which the two say different things, or which is none of our classes, is unknown.

    Args:
        shares, mirrored: [K+1,h,w], see `class_shares`; of the picture and of the mirrored one,
            the latter turned back.
        size: (width, height) of the labels.

    Returns:
        Labels [H,W], `NO_LABEL` unknown, and their runner-up [H,W,2], see `Sample`.
    """
    first, second = _enlarged(shares, size), _enlarged(mirrored, size)
    agreed = first.argmax(0) == second.argmax(0)
    mean = (first + second)[:-1] / 2.0
    known = agreed & (first.argmax(0) < len(mean))
    order = np.argsort(-mean, axis=0, kind="stable")
    likeliest = np.where(known, order[0], NO_LABEL).astype(np.uint8)
    if len(mean) < 2:
        return likeliest, np.stack([likeliest, np.zeros_like(likeliest)], -1)
    best, next_best = (np.take_along_axis(mean, order[:2], 0)[i] for i in (0, 1))
    doubt = next_best / np.maximum(best + next_best, 1e-6)
    runner_up = np.stack([np.where(known, order[1], NO_LABEL), np.round(doubt * _STEPS)], -1)
    return likeliest, runner_up.astype(np.uint8)


def _probabilities(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    sums = scores.sum(0)
    if scores.min() >= 0.0 and np.abs(sums - 1.0).max() < _SUM_TOLERANCE:
        return scores
    powers = np.exp(scores - scores.max(0))
    return np.asarray(powers / powers.sum(0), np.float32)


def _enlarged(shares: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.stack([cv2.resize(share, size, interpolation=cv2.INTER_LINEAR) for share in shares])
