"""Scores a model, and trivial guesses, on a labelled dataset over budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget import Controller, ControllerSettings
from pag_ros.errors import ParameterError
from pag_ros.evaluation.boundaries import BoundaryScores
from pag_ros.evaluation.metrics import DepthProtocol, TaskScores
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.class_names import CommonClasses, common_classes
from pag_ros.lab.datasets.trivial import TRIVIAL
from pag_ros.manifest import Manifest
from pag_ros.runtime import FrameResult, Perception, PlannedSession, Session
from pag_ros.runtime.calibration import table_for

MAIN_METRICS = {
    "depth": ("delta1", "AbsRel"),
    "depth (median-scaled)": ("delta1",),
    "normals": ("median",),
    "segmentation": ("mIoU", "pixel_accuracy"),
    "boundary": ("ODS", "OIS", "AP"),
}
"""What a manifest keeps of the scores."""

Scores = dict[str, dict[str, float]]
"""Task -> metric -> value."""


@dataclass
class DatasetScores:
    """What scoring a dataset found.

    Attributes:
        budgets: budget -> scores over all samples, metrics of gating.md section 5.
        density: budget -> share of the gated computation that was done, mean over the samples.
        trivial: name of a trivial guess -> its scores; empty if they were not asked for.
        delta1: of each sample at the first budget, NaN without true depth.
        messages: what was left out and why, for people.
    """

    budgets: dict[float, Scores] = field(default_factory=dict)
    density: dict[float, float] = field(default_factory=dict)
    trivial: dict[str, Scores] = field(default_factory=dict)
    delta1: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def score_dataset(
    dataset: Dataset,
    session: Session,
    budgets: Sequence[float],
    *,
    limit: int | None = None,
    mode: str = "fixed",
    trivial: bool = False,
    protocol: DepthProtocol | None = None,
    progress: Callable[[], object] = lambda: None,
) -> DatasetScores:
    """Run every sample at every budget, without a deadline; score the heads that both have.

    Args:
        dataset: see `pag_ros.lab.datasets.open_dataset`.
        session: the model.
        budgets: in (0, 1].
        limit: so many samples, from the first; None for all.
        mode: "fixed", the budget for every sample, or "adaptive", the budget on average.
        trivial: score trivial guesses of the depth, too.
        protocol: which true depths count; the dataset's own if None.
        progress: called after each sample.

    Raises:
        ParameterError: a budget is out of range, or none is given.
        DatasetError: a sample is damaged.
    """
    runners = perceptions(session, budgets, mode)
    found = DatasetScores()
    classes = common_classes(session.manifest.classes, dataset.classes)
    heads = _heads(session.manifest, dataset, classes, found.messages)
    protocol = protocol or dataset.protocol
    boards = {budget: _Board(classes, protocol, heads) for budget in budgets}
    densities: dict[float, list[float]] = {budget: [] for budget in budgets}
    guesses = {name: _Board(classes, protocol, {"depth"}) for name in TRIVIAL if trivial}
    for index in range(len(dataset) if limit is None else min(limit, len(dataset))):
        sample = dataset[index]
        for budget, perception in runners.items():
            result = run(perception, sample, heads)
            boards[budget].add(sample, result)
            densities[budget].append(result.density)
        for name, board in guesses.items():
            board.add_guess(sample, TRIVIAL[name])
        found.delta1.append(boards[budgets[0]].last_delta1)
        progress()
    found.budgets = {budget: board.scores() for budget, board in boards.items()}
    found.density = {b: float(np.mean(values)) for b, values in densities.items() if values}
    found.trivial = {name: board.scores() for name, board in guesses.items() if board.scores()}
    return found


def perceptions(
    session: Session, budgets: Sequence[float], mode: str = "fixed"
) -> dict[float, Perception]:
    """The model at some budgets, in budget mode "fixed" or "adaptive".

    Raises:
        ParameterError: a budget is out of range, or none is given.
    """
    if not budgets or not all(0.0 < budget <= 1.0 for budget in budgets):
        raise ParameterError(f"budgets must lie in (0, 1], got {list(budgets)}")
    table, manifest = table_for(session), session.manifest
    return {
        budget: Perception(
            PlannedSession(session, Controller(manifest, table, ControllerSettings(mode, budget)))
        )
        for budget in budgets
    }


def run(perception: Perception, sample: Sample, heads: set[str]) -> FrameResult:
    """The wanted heads' outputs for a sample."""
    result = perception.process(sample.color, sample.focal_px, None, frozenset(heads))
    assert result is not None, "without a deadline no frame is skipped"
    return result


def with_scores(manifest: Manifest, scores: dict[float, Scores], half: bool = False) -> Manifest:
    """The manifest with the main metrics of each budget, as "0.50" -> "depth delta1" -> value.

    Args:
        manifest: of the whole resolution.
        half: they were measured at half of it.
    """
    rows = {f"{b:.2f}": main_scores(tasks) for b, tasks in scores.items()}
    return replace(manifest, half_scores=rows) if half else replace(manifest, scores=rows)


def main_scores(tasks: Scores) -> dict[str, float]:
    """ "depth delta1" -> value, and the others of `MAIN_METRICS`."""
    return {
        f"{task} {metric}": round(tasks[task][metric], 4)
        for task, metrics in MAIN_METRICS.items()
        if task in tasks
        for metric in metrics
        if metric in tasks[task]
    }


class _Board:
    """The scores of one run over a dataset."""

    def __init__(self, classes: CommonClasses, protocol: DepthProtocol, heads: set[str]) -> None:
        self._classes, self._protocol, self._heads = classes, protocol, heads
        self._tasks = TaskScores(len(classes.names), protocol)
        self._boundaries = BoundaryScores()
        self.last_delta1 = float("nan")

    def add(self, sample: Sample, result: FrameResult) -> None:
        self.last_delta1 = float("nan")
        if "depth" in self._heads and sample.depth is not None and result.depth is not None:
            self._add_depth(result.depth, sample.depth)
        if "normals" in self._heads and sample.normals is not None and result.normals is not None:
            self._tasks.add_normals(result.normals, sample.normals)
        if "segmentation" in self._heads and sample.labels is not None:
            assert result.labels is not None
            predicted = self._classes.of_model.take(result.labels)
            self._tasks.add_labels(predicted, self._classes.of_dataset.take(sample.labels))
        if "boundary" in self._heads and sample.boundary is not None:
            assert result.boundary is not None
            self._boundaries.add(result.boundary, sample.boundary)

    def add_guess(
        self, sample: Sample, guess: Callable[[Sample, float], NDArray[np.float32]]
    ) -> None:
        if sample.depth is None:
            return
        counts = self._protocol.counts(sample.depth)
        if counts.any():
            median_m = float(np.median(sample.depth[counts]))
            self._add_depth(guess(sample, median_m), sample.depth)

    def _add_depth(self, depth: NDArray[np.float32], truth: NDArray[np.float32]) -> None:
        alone = TaskScores(len(self._classes.names), self._protocol)
        alone.add_depth(depth, truth)
        self.last_delta1 = alone.scores().get("depth", {}).get("delta1", float("nan"))
        self._tasks.include(alone)

    def scores(self) -> Scores:
        boundary = self._boundaries.scores()
        return {**self._tasks.scores(), **({"boundary": boundary} if boundary else {})}


def _heads(
    manifest: Manifest, dataset: Dataset, classes: CommonClasses, messages: list[str]
) -> set[str]:
    """The model's heads that the dataset can score; says why labels are left out."""
    heads = set(manifest.heads)
    if "segmentation" in heads and not classes.names:
        heads.discard("segmentation")
        if dataset.classes:
            names = ", ".join(dataset.classes[:3])
            messages.append(
                f"{dataset.name}: segmentation is not scored, the model has none of its classes "
                f"({names}, ...)"
            )
    elif "segmentation" in heads and not classes.same:
        messages.append(
            f"{dataset.name}: segmentation is scored on the {len(classes.names)} classes of equal "
            f"name, where the truth is one of them: {', '.join(classes.names)}"
        )
    return heads
