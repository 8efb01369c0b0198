"""The scores of every frame by two models: the one before tuning and the one after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import DepthProtocol, NormalScores
from pag_ros.evaluation.named_metrics import Metric, metric_of
from pag_ros.evaluation.passes import Classes, perception_at, require_budgets
from pag_ros.evaluation.scoring import Outputs, Scoreboard
from pag_ros.evaluation.truth import Truth
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.class_names import common_classes
from pag_ros.lab.datasets.scores import scored_classes, truth_of
from pag_ros.manifest import NO_LABEL
from pag_ros.runtime import Perception, Session
from pag_ros.runtime.outputs import maps_of

DEVICE = "cpu"
"""Where models are judged: the numbers are then the same on every machine."""

MAIN_METRICS = {
    "depth": metric_of("depth", "delta1"),
    "normals": metric_of("normals", "median"),
    "segmentation": metric_of("segmentation", "pixel_accuracy"),
}
"""By which each head is judged."""

MEDIAN_SCALED = metric_of("depth (median-scaled)", "delta1")
"""What the depth would be if every frame had its right factor."""

JUDGED = (
    MAIN_METRICS["depth"],
    metric_of("depth", "AbsRel"),
    MEDIAN_SCALED,
    MAIN_METRICS["normals"],
    MAIN_METRICS["segmentation"],
)
"""What each frame is scored by."""

SAME_LABEL = Metric("segmentation", "agreement", "pixels with the same label", 100, " %", True)
ANGLE_BETWEEN = Metric("normals", "agreement", "median angle between both", 1, "°", False)
AGREEMENTS = (ANGLE_BETWEEN, SAME_LABEL)
"""How much alike both models are, where no truth says which one is right."""


@dataclass(frozen=True)
class FrameScores:
    """One frame at one budget, by both models.

    Attributes:
        index: of the dataset's sample.
        before, after: of `JUDGED`, those that the frame has a truth for.
        agreement: of `AGREEMENTS`, those of heads that it has no truth for.
    """

    index: int
    budget: float
    before: Mapping[Metric, float]
    after: Mapping[Metric, float]
    agreement: Mapping[Metric, float]


def score_frames(
    dataset: Dataset,
    before: Session,
    after: Session,
    budgets: Sequence[float],
    progress: Callable[[], object] = lambda: None,
) -> list[FrameScores]:
    """Run both models on every frame at every budget, without a deadline; each frame is read once.

    Args:
        dataset: see `pag_ros.lab.datasets.open_dataset`.
        before, after: with the same heads and classes.
        budgets: in (0, 1].
        progress: called after each frame.

    Returns:
        Frame by frame, and of each frame in the order of the budgets.

    Raises:
        ParameterError: a budget is out of range, none is given, or heads or classes differ.
        DatasetError: a frame is damaged.
    """
    require_budgets(budgets)
    _require_alike(before, after)
    common = common_classes(before.manifest.classes, dataset.classes)
    classes = scored_classes(before.manifest, common)
    pairs = [(b, perception_at(before, b), perception_at(after, b)) for b in dict.fromkeys(budgets)]
    scores = []
    for index in range(len(dataset)):
        sample = dataset[index]
        truth = truth_of(sample, common)
        for budget, one, other in pairs:
            old, new = outputs_of(one, sample), outputs_of(other, sample)
            of_old = _scores(truth, old, classes, dataset.protocol)
            of_new = _scores(truth, new, classes, dataset.protocol)
            agreement = _agreement(old, new, {metric.task for metric in of_old})
            scores.append(FrameScores(index, budget, of_old, of_new, agreement))
        progress()
    return scores


def outputs_of(perception: Perception, sample: Sample) -> Outputs:
    """All that a model says of a sample, at the sample's size."""
    wanted = maps_of(perception.session.manifest)
    result = perception.process(sample.color, sample.focal_px, None, wanted)
    assert result is not None, "without a deadline no frame is skipped"
    return Outputs.of(result)


def _require_alike(before: Session, after: Session) -> None:
    one, other = before.manifest, after.manifest
    classes = [[c.name for c in manifest.classes] for manifest in (one, other)]
    if classes[0] != classes[1] or set(one.heads) != set(other.heads):
        raise ParameterError(
            f"{other.name}: other heads or classes than {one.name}; "
            "only models with the same ones can be compared"
        )


def _scores(
    truth: Truth, outputs: Outputs, classes: Classes, protocol: DepthProtocol
) -> dict[Metric, float]:
    """One frame's scores, those of `JUDGED` that it has a truth for."""
    board = Scoreboard(len(classes.listed), protocol)
    tasks = board.add(truth, classes.relabelled(outputs)).scores()
    return {metric: tasks[metric.task][metric.name] for metric in JUDGED if metric.task in tasks}


def _agreement(old: Outputs, new: Outputs, known: set[str]) -> dict[Metric, float]:
    """Of the heads whose task is not among those `known`, for want of a truth."""
    agreement = {}
    if "normals" not in known and old.normals is not None and new.normals is not None:
        angles = NormalScores()
        angles.add(new.normals, old.normals)
        if angles.scores():
            agreement[ANGLE_BETWEEN] = angles.scores()["median"]
    if "segmentation" not in known and old.labels is not None and new.labels is not None:
        labelled = old.labels != NO_LABEL
        if labelled.any():
            same = old.labels[labelled] == new.labels[labelled]
            agreement[SAME_LABEL] = float(same.mean())
    return agreement
