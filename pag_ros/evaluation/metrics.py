"""Scores of depth, normals, segmentation and all tasks together, gathered frame by frame.

Each class here takes one frame at a time (`add`) and gives its scores at any moment (`scores`).
Nothing but sums is kept, so a bag may be of any length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.boundaries import BoundaryScores


@dataclass(frozen=True)
class DepthProtocol:
    """Which pixels count, as the published results of a dataset define it.

    Attributes:
        min_m, cap_m: true depths counted, and the range predictions are clipped to; metres.
        crop: (top, bottom, left, right) as shares of height and width; outside does not count.
        median_scaling: multiply each prediction by median(truth) / median(prediction) first.
    """

    min_m: float = 1e-3
    cap_m: float = 10.0
    crop: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    median_scaling: bool = False

    def counts(self, truth: NDArray[np.float32]) -> NDArray[np.bool_]:
        """[h,w] which pixels of a true depth [h,w] (m) count.

        Shares are cut off at whole pixels, as the publications' code does (astype(int)).
        """
        height, width = truth.shape
        top, bottom, left, right = self.crop
        # The small number keeps 45 / 480 * 480 at 45.
        rows = slice(int(top * height + 1e-6), int(bottom * height + 1e-6))
        columns = slice(int(left * width + 1e-6), int(right * width + 1e-6))
        counts = np.zeros(truth.shape, bool)
        inside = truth[rows, columns]
        counts[rows, columns] = (inside > self.min_m) & (inside <= self.cap_m)
        return counts


# Eigen et al. 2014 for NYUv2 (rows 45-471, columns 41-601 of 480x640) and KITTI; Garg et al. 2016.
DEPTH_PROTOCOLS = {
    "indoor": DepthProtocol(),
    "nyu": DepthProtocol(crop=(45 / 480, 471 / 480, 41 / 640, 601 / 640)),
    "kitti-eigen": DepthProtocol(cap_m=80.0, crop=(0.3324324, 0.91351351, 0.0359477, 0.96405229)),
    "kitti-garg": DepthProtocol(cap_m=80.0, crop=(0.40810811, 0.99189189, 0.03594771, 0.96405229)),
}


class DepthScores:
    """Depth accuracy (Eigen et al. 2014): each frame's scores, averaged over the frames."""

    def __init__(self, protocol: DepthProtocol | None = None) -> None:
        self._protocol = protocol or DepthProtocol()
        self._sums: dict[str, float] = {}
        self.frames = 0

    def add(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Score one frame; frames without a pixel to score change nothing.

        Args:
            depth: [h,w] predicted, metres. What is not finite counts as the cap.
            truth: [h,w] metres, NaN where unknown.
        """
        pairs = self._pairs(depth, truth)
        if pairs is None:
            return
        self.frames += 1
        for name, value in depth_errors(*pairs).items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def include(self, other: DepthScores) -> None:
        """Count another one's frames, too."""
        self.frames += other.frames
        for name, value in other._sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def scores(self) -> dict[str, float]:
        """Metric name -> value; empty while nothing was scored."""
        return {name: total / self.frames for name, total in self._sums.items()}

    def _pairs(
        self, depth: NDArray[np.float32], truth: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        protocol = self._protocol
        counts = protocol.counts(truth)
        if not counts.any():
            return None
        d, g = depth[counts].astype(np.float64), truth[counts].astype(np.float64)
        d = np.where(np.isfinite(d), d, protocol.cap_m)
        if protocol.median_scaling:
            d = d * (np.median(g) / max(float(np.median(d)), protocol.min_m))
        return np.clip(d, protocol.min_m, protocol.cap_m), g


def depth_errors(d: NDArray[np.float64], g: NDArray[np.float64]) -> dict[str, float]:
    """The usual errors of positive predictions `d` against true depths `g`, both [n] metres.

    delta_k: share of pixels with max(d/g, g/d) < 1.25^k. SILog is in units of 100 ln m (KITTI).
    """
    ratio = np.maximum(d / g, g / d)
    log_error = np.log(d) - np.log(g)
    variance = max(float(np.mean(log_error**2) - np.mean(log_error) ** 2), 0.0)
    return {
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
        "AbsRel": float(np.mean(np.abs(d - g) / g)),
        "SqRel": float(np.mean((d - g) ** 2 / g)),
        "RMSE": float(np.sqrt(np.mean((d - g) ** 2))),
        "RMSElog": float(np.sqrt(np.mean(log_error**2))),
        "SILog": 100.0 * variance**0.5,
    }


class NormalScores:
    """Angles between predicted and true surface normals, pooled over all pixels of all frames."""

    BINS_PER_DEGREE = 100
    """The median comes from a histogram, so it is good to 0.01 degrees."""

    def __init__(self) -> None:
        self._histogram = np.zeros(180 * self.BINS_PER_DEGREE, np.int64)
        self._below = dict.fromkeys((11.25, 22.5, 30.0), 0)
        self._sum = 0.0
        self._square_sum = 0.0
        self._pixels = 0

    def add(self, normals: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """Score one frame.

        Args:
            normals: [h,w,3] predicted; need not be of unit length. NaN counts as 90 degrees.
            truth: [h,w,3] unit, NaN where unknown.
        """
        counts = np.isfinite(truth).all(axis=-1)
        angles = angles_deg(normals[counts], truth[counts])
        self._pixels += angles.size
        self._sum += float(angles.sum())
        self._square_sum += float((angles**2).sum())
        for limit in self._below:
            self._below[limit] += int((angles < limit).sum())
        bins = np.minimum(angles * self.BINS_PER_DEGREE, self._histogram.size - 1)
        self._histogram += np.bincount(bins.astype(np.int64), minlength=self._histogram.size)

    def include(self, other: NormalScores) -> None:
        """Count another one's pixels, too."""
        self._pixels += other._pixels
        self._sum += other._sum
        self._square_sum += other._square_sum
        self._histogram += other._histogram
        for limit in self._below:
            self._below[limit] += other._below[limit]

    def scores(self) -> dict[str, float]:
        """Degrees, and shares of pixels under a limit; empty while nothing was scored."""
        if not self._pixels:
            return {}
        return {
            "mean": self._sum / self._pixels,
            "median": self._median(),
            "RMSE": (self._square_sum / self._pixels) ** 0.5,
            **{f"<{limit:g}": n / self._pixels for limit, n in self._below.items()},
        }

    def _median(self) -> float:
        below = np.cumsum(self._histogram)
        place = int(np.searchsorted(below, self._pixels / 2))
        return (place + 0.5) / self.BINS_PER_DEGREE


def angles_deg(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Angles in degrees between vectors [n,3]; 90 where one of them has no direction."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.nan_to_num((a * b).sum(axis=1) / lengths, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), np.float64)


class SegmentationScores:
    """One confusion matrix over all frames: mIoU, pixel and mean accuracy.

    Attributes:
        confusion: [classes, classes + 1] int64, true class by predicted class; the last column
            counts predictions that are no class.
    """

    def __init__(self, classes: int) -> None:
        self.confusion = np.zeros((classes, classes + 1), np.int64)

    def add(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Score one frame.

        Args:
            labels: [h,w] predicted class ids.
            truth: [h,w] class ids; `NO_LABEL` and others beyond the classes do not count.
        """
        rows, columns = self.confusion.shape
        counts = truth < rows
        predicted = np.minimum(labels[counts], columns - 1).astype(np.int64)
        pairs = truth[counts].astype(np.int64) * columns + predicted
        self.confusion += np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)

    def include(self, other: SegmentationScores) -> None:
        """Count another one's pixels, too."""
        self.confusion += other.confusion

    def class_iou(self) -> NDArray[np.float64]:
        """[classes] intersection over union; NaN for classes neither true nor predicted."""
        hit = np.diagonal(self.confusion).astype(np.float64)
        union = self.confusion.sum(axis=1) + self.confusion[:, :-1].sum(axis=0) - hit
        with np.errstate(invalid="ignore"):
            return np.where(union > 0, hit / union, np.nan)

    def scores(self) -> dict[str, float]:
        """Shares in 0..1; classes that never occur are left out; empty while nothing was scored."""
        true = self.confusion.sum(axis=1)
        if not true.sum():
            return {}
        hit = np.diagonal(self.confusion)
        return {
            "mIoU": float(np.nanmean(self.class_iou())),
            "pixel_accuracy": float(hit.sum() / true.sum()),
            "mean_accuracy": float(np.mean(hit[true > 0] / true[true > 0])),
        }


class TaskScores:
    """All scores of one run over frames with any kind of ground truth.

    Depth is scored as it is and, as "depth (median-scaled)", up to one factor a frame: the first
    says whether it is metric, the second whether its shape is right.
    """

    def __init__(self, classes: int, protocol: DepthProtocol | None = None) -> None:
        protocol = protocol or DepthProtocol()
        self._depth = DepthScores(protocol)
        self._scaled = DepthScores(replace(protocol, median_scaling=True))
        self._normals = NormalScores()
        self._segmentation = SegmentationScores(classes)
        self._boundary = BoundaryScores()

    def add_depth(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """See `DepthScores.add`."""
        self._depth.add(depth, truth)
        self._scaled.add(depth, truth)

    def add_normals(self, normals: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        """See `NormalScores.add`."""
        self._normals.add(normals, truth)

    def add_labels(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """See `SegmentationScores.add`."""
        self._segmentation.add(labels, truth)

    def add_boundary(self, boundary: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
        """See `BoundaryScores.add`."""
        self._boundary.add(boundary, truth)

    def include(self, other: TaskScores) -> None:
        """Count another one's frames, too."""
        self._depth.include(other._depth)
        self._scaled.include(other._scaled)
        self._normals.include(other._normals)
        self._segmentation.include(other._segmentation)
        self._boundary.include(other._boundary)

    def scores(self) -> dict[str, dict[str, float]]:
        """Task -> metric -> value, for the tasks that had ground truth."""
        every = {
            "depth": self._depth.scores(),
            "depth (median-scaled)": self._scaled.scores(),
            "normals": self._normals.scores(),
            "segmentation": self._segmentation.scores(),
            "boundary": self._boundary.scores(),
        }
        return {task: values for task, values in every.items() if values}

    def class_iou(self) -> list[float | None]:
        """Intersection over union of each class, None where it never occurred."""
        return [None if np.isnan(v) else float(v) for v in self._segmentation.class_iou()]
