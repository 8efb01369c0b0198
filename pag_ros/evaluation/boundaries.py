"""Scores of boundaries as BSDS500 defines them (Arbelaez et al., PAMI 2011): ODS, OIS and AP.

A map is thinned to lines, cut at 99 thresholds, thinned again, and its pixels are matched one to
one with those of each annotator, within 0.0075 of the picture's diagonal. A pixel is right if some
annotator has it; the recall counts every annotator's pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.arange(1, 100) / 100.0
MAX_DISTANCE = 0.0075
"""Distance of pixels that still match, as a share of the picture's diagonal."""

Counts = NDArray[np.int64]
"""[99,4]: matched and all pixels of the annotators (recall), of the prediction (precision)."""


class BoundaryScores:
    """Boundary maps of many pictures, each against its annotators."""

    def __init__(self) -> None:
        self._pictures: list[Counts] = []

    def add(self, probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        """Score a picture.

        Args:
            probability: [H,W] of a boundary, 0 to 1; lines of any width.
            truth: [A,H,W] the boundaries of each annotator, one pixel wide.

        Raises:
            ValueError: the sizes differ or there is no annotator.
        """
        if not len(truth) or truth.shape[1:] != probability.shape:
            raise ValueError(f"boundaries {probability.shape} and {truth.shape} do not fit")
        self._pictures.append(count(suppress(probability), truth))

    def include(self, other: BoundaryScores) -> None:
        """Count another one's pictures, too."""
        self._pictures += other._pictures

    def scores(self) -> dict[str, float]:
        """ODS (best threshold of the set), OIS (best of each picture), AP; empty without any."""
        if not self._pictures:
            return {}
        recall, precision = _rates(np.sum(self._pictures, axis=0))
        best = [counts[np.argmax(_f(*_rates(counts)))] for counts in self._pictures]
        return {
            "ODS": _best_f(recall, precision),
            "OIS": float(_f(*_rates(np.sum(best, axis=0)))),
            "AP": _area(recall, precision),
        }


def count(lines: NDArray[np.float32], truth: NDArray[np.bool_]) -> Counts:
    """What a picture adds to the sums, at each threshold.

    Args:
        lines: [H,W] probability on lines, 0 beside them.
        truth: [A,H,W].
    """
    counts = np.zeros((len(THRESHOLDS), 4), np.int64)
    radius = MAX_DISTANCE * float(np.hypot(*lines.shape))
    last = -1
    for i, threshold in enumerate(THRESHOLDS):
        cut = lines >= threshold
        if int(cut.sum()) == last:  # the same pixels as at the threshold before
            counts[i] = counts[i - 1]
            continue
        last = int(cut.sum())
        predicted = thin(cut)
        pairs = [match(predicted, annotator, radius) for annotator in truth]
        right = np.any([mine for mine, _ in pairs], axis=0)
        found = sum(int(theirs.sum()) for _, theirs in pairs)
        counts[i] = found, truth.sum(), right.sum(), predicted.sum()
    return counts


def match(
    one: NDArray[np.bool_], other: NDArray[np.bool_], radius: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The pixels of both maps [H,W] that have a partner in the other one.

    As many pairs as there can be, each of two pixels at most `radius` pixels apart, and of those
    choices the nearest: as the benchmark, a pixel left alone costs as much as 100 radii.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    matched = np.zeros_like(one), np.zeros_like(other)
    if not (one.any() and other.any()):
        return matched
    mine, theirs = np.argwhere(one), np.argwhere(other)
    rows, columns = _near_pairs(mine, other, radius)
    distance = np.hypot(*(mine[rows] - theirs[columns]).T)
    # Every pixel of ours has one more column to itself, for being alone; weights must not be 0.
    alone = np.arange(len(mine))
    weights = 1.0 + np.concatenate([distance, np.full(len(mine), 100.0 * radius)])
    places = np.concatenate([rows, alone]), np.concatenate([columns, len(theirs) + alone])
    shape = (len(mine), len(theirs) + len(mine))
    ours, partner = min_weight_full_bipartite_matching(csr_matrix((weights, places), shape))
    paired = partner < len(theirs)
    matched[0][tuple(mine[ours[paired]].T)] = True
    matched[1][tuple(theirs[partner[paired]].T)] = True
    return matched


def suppress(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep a map's [H,W] ridges: what is not less than its neighbours across the line, else 0."""
    smooth = cv2.GaussianBlur(probability.astype(np.float32), (0, 0), 1.5)
    xx, xy, yy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((2, 0), (1, 1), (0, 2)))
    # Across the line the curvature is largest: the Hessian's direction of the smaller eigenvalue.
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy) + np.pi / 2.0
    y, x = np.mgrid[: smooth.shape[0], : smooth.shape[1]].astype(np.float32)
    dx, dy = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    keep = (probability > 0) & (xx + yy < 0)  # ridges, no valleys
    for side in (-1.0, 1.0):
        beside = cv2.remap(smooth, x + side * dx, y + side * dy, cv2.INTER_LINEAR)
        keep &= smooth >= np.asarray(beside)
    return np.where(keep, probability, 0.0).astype(np.float32)


def thin(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lines of one pixel width in the middle of a mask's [H,W] shapes, connected as they were.

    Guo and Hall, CACM 1989, with the conditions that MATLAB's `bwmorph(mask, "thin")` documents.
    """
    mask = mask.copy()
    while True:
        before = int(mask.sum())
        for first in (True, False):
            mask &= ~_removable(mask, first)
        if int(mask.sum()) == before:
            return mask


def _removable(mask: NDArray[np.bool_], first: bool) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    steps = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
    # East, north-east, and on around the pixel.
    x = [padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in steps]
    crossings = sum((~x[i] & (x[i + 1] | x[(i + 2) % 8])).astype(np.int8) for i in (0, 2, 4, 6))
    one = sum((x[i] | x[i + 1]).astype(np.int8) for i in (0, 2, 4, 6))
    other = sum((x[i + 1] | x[(i + 2) % 8]).astype(np.int8) for i in (0, 2, 4, 6))
    pairs = np.minimum(one, other)
    side = (x[1] | x[2] | ~x[7]) & x[0] if first else (x[5] | x[6] | ~x[3]) & x[4]
    return np.asarray((crossings == 1) & (pairs >= 2) & (pairs <= 3) & ~side)


def _near_pairs(
    mine: NDArray[np.int64], other: NDArray[np.bool_], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the pixels `mine` [n,2] and of those set in `other` that are near each other."""
    reach = int(radius)
    numbers = np.full(np.add(other.shape, 2 * reach), -1, np.int64)
    inner = numbers[reach : reach + other.shape[0], reach : reach + other.shape[1]]
    inner[other] = np.arange(int(other.sum()))
    steps = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    steps = steps[(steps**2).sum(axis=1) <= radius**2]
    places = mine[:, None] + steps + reach
    found = numbers[places[..., 0], places[..., 1]]
    rows, _ = np.nonzero(found >= 0)
    return rows, found[found >= 0]


def _rates(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of counts [...,4]; 0 where there is nothing to count."""
    found, true, right, predicted = np.moveaxis(counts.astype(np.float64), -1, 0)
    return found / np.maximum(true, 1.0), right / np.maximum(predicted, 1.0)


def _f(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2.0 * precision * recall / np.maximum(precision + recall, 1e-12))


def _best_f(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """The largest F between neighbouring thresholds, too, as the benchmark interpolates."""
    steps = np.arange(0, len(recall) - 1 + 1e-9, 0.01)
    grid = np.arange(len(recall))
    return float(_f(np.interp(steps, grid, recall), np.interp(steps, grid, precision)).max())


def _area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Under the curve of precision over recall; recalls that are not reached count as 0."""
    at, first = np.unique(recall, return_index=True)
    if len(at) < 2:
        return 0.0
    wanted = np.arange(101) / 100.0
    return float(np.interp(wanted, at, precision[first], left=0.0, right=0.0).sum() * 0.01)
