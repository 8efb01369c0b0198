"""Pictures of the worst, the median and the best held-out frame, before tuning and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.named_metrics import Metric
from pag_ros.evaluation.passes import perception_at
from pag_ros.evaluation.results import FramePictures
from pag_ros.evaluation.samples import color_outputs, small
from pag_ros.evaluation.scoring import Outputs
from pag_ros.image.pictures import Picture, color_depth_error
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.class_names import common_classes
from pag_ros.lab.datasets.scores import scored_classes, truth_of
from pag_ros.lab.tuning.paired_scores import FrameScores, outputs_of
from pag_ros.manifest import Manifest
from pag_ros.runtime import Session

LARGEST_RATIO = 1.25**4
"""Of depth and truth, where the colours of the error end: four times the threshold of δ < 1.25."""

CAPTIONS = ("depth", "depth error", "normals", "labels")


def picture_frames(
    dataset: Dataset,
    before: Session,
    after: Session,
    held_out: Sequence[FrameScores],
    main: Metric | None,
) -> list[FramePictures]:
    """Run both models once more on the frames that are shown, at the first budget.

    Args:
        dataset, before, after: that `score_frames` was given.
        held_out: what it gave.
        main: that decides which frame is the worst; None shows the first, the middle and the last.

    Returns:
        Of each frame the input, and of the truth and of both models what there is of `CAPTIONS`.

    Raises:
        DatasetError: a frame is damaged.
    """
    if not held_out:
        return []
    budget = held_out[0].budget
    models = {name: perception_at(s, budget) for name, s in (("before", before), ("after", after))}
    samples = []
    for name, scores in choose_frames(held_out, main).items():
        sample = dataset[scores.index]
        rows = {"truth": _true_row(sample, before.manifest, dataset.classes)}
        for model, perception in models.items():
            outputs = outputs_of(perception, sample)
            rows[model] = _row(outputs, sample.depth, perception.session.manifest)
        image = small(sample.color, cv2.INTER_AREA)
        samples.append(FramePictures(_title(name, scores, main), image, rows))
    return samples


def choose_frames(held_out: Sequence[FrameScores], main: Metric | None) -> dict[str, FrameScores]:
    """ "worst", "median" and "best" -> frame, by what the tuned model makes of it at the first
    budget; none twice."""
    frames = [frame for frame in held_out if frame.budget == held_out[0].budget]
    names = ("first", "middle", "last")
    if main is not None:
        sign = 1.0 if main.higher_is_better else -1.0
        frames = [frame for frame in frames if main in frame.after]
        frames.sort(key=lambda frame: sign * frame.after[main])
        names = ("worst", "median", "best")
    chosen: dict[str, FrameScores] = {}
    for name, place in zip(names, (0, len(frames) // 2, len(frames) - 1), strict=True):
        if frames and frames[place] not in chosen.values():
            chosen[name] = frames[place]
    return chosen


def _title(name: str, scores: FrameScores, main: Metric | None) -> str:
    title = f"{name} held-out frame (number {scores.index}), budget {scores.budget:.2f}"
    if main is None:
        return title
    values = f"{main.format(scores.before[main])} before, {main.format(scores.after[main])} after"
    return f"{title}; {main.task}, {main.text}: {values}"


def _true_row(
    sample: Sample, manifest: Manifest, class_names: tuple[str, ...]
) -> Mapping[str, Picture]:
    common = common_classes(manifest.classes, class_names)
    truth = truth_of(sample, common)
    shown_as = replace(manifest, classes=scored_classes(manifest, common).listed)
    return color_outputs(Outputs(truth.depth, truth.normals, truth.labels), shown_as, small)


def _row(
    outputs: Outputs, true_depth: NDArray[np.float32] | None, manifest: Manifest
) -> Mapping[str, Picture]:
    row = color_outputs(replace(outputs, boundary=None, computed=None), manifest, small)
    if outputs.depth is not None and true_depth is not None:
        depth, truth = small(outputs.depth), small(true_depth)
        row["depth error"] = color_depth_error(depth, truth, LARGEST_RATIO)
    return row
