"""Scores a model on a labelled dataset over budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pag_ros.budget import Controller, ControllerSettings
from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import TaskScores
from pag_ros.evaluation.rooms import RoomFrame, read_frame
from pag_ros.manifest import Manifest
from pag_ros.runtime import Perception, Session
from pag_ros.runtime.calibration import table_for

WANTED = frozenset({"depth", "normals", "segmentation"})

MAIN_METRICS = {
    "depth": ("delta1", "AbsRel"),
    "depth (median-scaled)": ("delta1",),
    "normals": ("median",),
    "segmentation": ("mIoU", "pixel_accuracy"),
}
"""What a manifest keeps of the scores."""

Scores = dict[str, dict[str, float]]
"""Task -> metric -> value."""


def score_rooms(
    frames: Sequence[RoomFrame],
    session: Session,
    budgets: Sequence[float],
    progress: Callable[[], object] = lambda: None,
) -> dict[float, Scores]:
    """Run every frame at every budget, without a deadline.

    Args:
        frames: rendered rooms, see `pag_ros.evaluation.rooms`.
        session: the model.
        budgets: in (0, 1].
        progress: called after each frame.

    Returns:
        Budget -> scores over all frames, metrics of gating.md section 5.

    Raises:
        ParameterError: a budget is out of range.
        DatasetError: a frame is damaged.
    """
    if not all(0.0 < budget <= 1.0 for budget in budgets):
        raise ParameterError(f"budgets must lie in (0, 1], got {list(budgets)}")
    table, manifest = table_for(session), session.manifest
    runs = {}
    for budget in budgets:
        controller = Controller(manifest, table, ControllerSettings("fixed", budget))
        runs[budget] = (Perception(session, controller), TaskScores(len(manifest.classes)))
    for frame in frames:
        sample = read_frame(frame)
        normals = np.where(sample.normals.any(axis=2, keepdims=True), sample.normals, np.nan)
        for perception, scores in runs.values():
            result = perception.process(sample.color, sample.focal_px, None, WANTED)
            assert result is not None, "a fixed budget never skips"
            if "depth" in manifest.heads and result.depth is not None:
                scores.add_depth(result.depth, sample.depth)
            if "normals" in manifest.heads and result.normals is not None:
                scores.add_normals(result.normals, normals.astype(np.float32))
            if "segmentation" in manifest.heads and result.labels is not None:
                scores.add_labels(result.labels, sample.labels)
        progress()
    return {budget: scores.scores() for budget, (_, scores) in runs.items()}


def with_scores(manifest: Manifest, scores: dict[float, Scores]) -> Manifest:
    """The manifest with the main metrics of each budget, as "0.50" -> "depth delta1" -> value."""
    rows = {
        f"{budget:.2f}": {
            f"{task} {metric}": round(tasks[task][metric], 4)
            for task, metrics in MAIN_METRICS.items()
            if task in tasks
            for metric in metrics
            if metric in tasks[task]
        }
        for budget, tasks in scores.items()
    }
    return replace(manifest, scores=rows)
