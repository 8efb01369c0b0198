"""What the floor makes of a model's depth, frame by frame: see docs/scale.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, median, pstdev

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol, DepthScores
from pag_ros.evaluation.passes import perception_at
from pag_ros.lab.datasets.sample import Dataset, Sample
from pag_ros.lab.datasets.true_floor import TrueFloor, find_true_floor
from pag_ros.runtime import Perception, Session
from pag_ros.runtime.camera_scale import CameraScale
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.scale_filter import ScaleSource

WAYS = ("network", "floor", "pitch unknown", "perfect")
"""What the depth is multiplied by: nothing; what the floor asks for of a camera of known height,
pitch and roll, or of known height alone; the median of the true depth over the network's."""


@dataclass(frozen=True)
class FrameGain:
    """What was found in a frame.

    Attributes:
        factors: way -> factor of the depth; without those that the floor does not tell.
        delta1: way -> score; the network's where there is no factor.
        floor_share: of the picture, 0 where its true depth shows no floor to find the camera by.
        on_floor, elsewhere: the perfect factors of the true floor's pixels, and of all others; None
            where there are none.
    """

    factors: dict[str, float]
    delta1: dict[str, float]
    floor_share: float
    on_floor: float | None
    elsewhere: float | None


@dataclass(frozen=True)
class FloorGain:
    """What was found in several frames.

    Attributes:
        frames: how many.
        known: in how many the true floor tells where the camera is.
        factors: way -> in how many there is a factor.
        delta1: way -> mean of the frames.
        spread: standard deviation of the logarithms of the perfect factors.
        apart: median of the perfect factor of the true floor over that of everything else.
        correlation: of the logarithms of these two; None where they do not tell.
    """

    frames: int
    known: int
    factors: dict[str, int]
    delta1: dict[str, float]
    spread: float
    apart: float | None
    correlation: float | None


def measure_frames(
    dataset: Dataset,
    session: Session,
    least_height_m: float,
    progress: Callable[[], object] = lambda: None,
) -> list[FrameGain]:
    """Run a model on every frame by itself, at the whole budget.

    Args:
        dataset: with true depth.
        session: the model, with depth and normals.
        least_height_m: see `find_true_floor`.
        progress: called after each frame.

    Raises:
        DatasetError: no frame has a true depth, or one is damaged.
        ParameterError: the model has no depth, or no normals.
    """
    perception, found = perception_at(session, 1.0), []
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.depth is not None and dataset.protocol.counts(sample.depth).any():
            floor = find_true_floor(sample, dataset.classes, least_height_m)
            found.append(measure_frame(sample, floor, perception, dataset.protocol))
        progress()
    if not found:
        raise DatasetError(f"{dataset.name}: no frame has a true depth")
    return found


def measure_frame(
    sample: Sample, floor: TrueFloor | None, perception: Perception, protocol: DepthProtocol
) -> FrameGain:
    """Run a model on a frame in all ways.

    Args:
        sample: with true depth that counts.
        floor: in it; None where there is none.
        protocol: which true depths count.
    """
    truth = sample.depth
    assert truth is not None, "it counts"
    factors: dict[str, float] = {}
    network, _ = _run(perception, sample, None)
    depths = dict.fromkeys(WAYS, network)
    if floor is not None:
        mounts = {"floor": floor.mount, "pitch unknown": Mount(floor.mount.height_m)}
        for way, mount in mounts.items():
            depths[way], factor = _run(perception, sample, mount)
            if factor is not None:
                factors[way] = factor
    counts = protocol.counts(truth)
    ratios = truth / np.maximum(network, np.float32(protocol.min_m))
    factors["perfect"] = float(np.median(ratios[counts]))
    depths["perfect"] = network * np.float32(factors["perfect"])
    is_floor = np.zeros(truth.shape, bool) if floor is None else floor.pixels
    return FrameGain(
        factors=factors,
        delta1={way: _delta1(depth, truth, protocol) for way, depth in depths.items()},
        floor_share=0.0 if floor is None else floor.share,
        on_floor=_median(ratios, counts & is_floor),
        elsewhere=_median(ratios, counts & ~is_floor),
    )


def summary(frames: Sequence[FrameGain]) -> FloorGain:
    """What one or more frames have in common."""
    both = [(f.on_floor, f.elsewhere) for f in frames if f.on_floor and f.elsewhere]
    floors = [math.log(floor) for floor, _ in both]
    others = [math.log(other) for _, other in both]
    return FloorGain(
        frames=len(frames),
        known=sum(f.floor_share > 0.0 for f in frames),
        factors={way: sum(way in f.factors for f in frames) for way in WAYS[1:]},
        delta1={way: float(np.mean([f.delta1[way] for f in frames])) for way in WAYS},
        spread=pstdev(math.log(f.factors["perfect"]) for f in frames),
        apart=median(floor / other for floor, other in both) if both else None,
        correlation=_correlation(floors, others),
    )


def _run(
    perception: Perception, sample: Sample, mount: Mount | None
) -> tuple[NDArray[np.float32], float | None]:
    """The depth of a frame, and its factor if its floor tells one."""
    scale = CameraScale(perception.session.manifest)
    rescale = None if mount is None else scale.of_frame(sample.intrinsics, mount, 0.0)
    wanted = frozenset({"depth"})
    result = perception.process(sample.color, sample.focal_px, None, wanted, rescale)
    assert result is not None, "without a deadline no frame is skipped"
    assert result.depth is not None, "it is wanted"
    report = scale.report
    return result.depth, report.factor if report.source is ScaleSource.FLOOR else None


def _median(ratios: NDArray[np.float32], pixels: NDArray[np.bool_]) -> float | None:
    return float(np.median(ratios[pixels])) if pixels.any() else None


def _delta1(
    depth: NDArray[np.float32], truth: NDArray[np.float32], protocol: DepthProtocol
) -> float:
    scores = DepthScores(protocol)
    scores.add(depth, truth)
    return scores.scores()["delta1"]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    try:
        return correlation(a, b)
    except StatisticsError:
        return None  # fewer than two, or all alike
