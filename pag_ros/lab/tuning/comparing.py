"""Two models on the same pictures, frame by frame: the one before tuning and the one after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pag_ros.evaluation.metrics import angles_deg
from pag_ros.evaluation.passes import perception_at
from pag_ros.evaluation.scoring import Outputs, Scoreboard
from pag_ros.evaluation.truth import Truth
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.runtime import Perception, Session
from pag_ros.runtime.outputs import parts_of

MEASURES = {
    ("depth", "delta1"): True,
    ("depth", "AbsRel"): False,
    ("depth (median-scaled)", "delta1"): True,
    ("normals", "median"): False,
    ("segmentation", "pixel_accuracy"): True,
}
"""Task and metric -> whether more is better. Each means something for one frame alone."""

AGREEMENT = {"labels": "labels equal to those before", "normals": "normals moved, degrees"}
"""What is measured of heads that the pictures have no truth for."""

Values = dict[tuple[str, str], float]


@dataclass(frozen=True)
class FramePair:
    """One frame at one budget, scored twice.

    Attributes:
        before, after: (task, metric) of `MEASURES` -> value, for what the frame has truth of.
        agreement: key of `AGREEMENT` -> share of pixels, or median angle.
    """

    before: Values
    after: Values
    agreement: dict[str, float]


@dataclass(frozen=True)
class PairedScores:
    """All frames of a dataset.

    Attributes:
        name: of the dataset.
        frames: budget -> its frames, in the dataset's order.
    """

    name: str
    frames: dict[float, list[FramePair]]

    def measured(self) -> list[tuple[str, str]]:
        """The measures that some frame has."""
        return [
            key
            for key in MEASURES
            if any(key in pair.before for pairs in self.frames.values() for pair in pairs)
        ]


class Models:
    """Both models at one budget.

    Args:
        before, after: sessions of the same classes and heads.
    """

    def __init__(self, before: Session, after: Session, budget: float) -> None:
        self._before, self._after = perception_at(before, budget), perception_at(after, budget)
        self._wanted = parts_of(before.manifest) & parts_of(after.manifest)

    def run(self, sample: Sample) -> tuple[Outputs, Outputs]:
        """What both make of a picture."""
        return self._outputs(self._before, sample), self._outputs(self._after, sample)

    def _outputs(self, perception: Perception, sample: Sample) -> Outputs:
        result = perception.process(sample.color, sample.focal_px, None, self._wanted)
        assert result is not None, "without a deadline no frame is skipped"
        return Outputs.of(result)


def compare(
    dataset: Dataset,
    before: Session,
    after: Session,
    budgets: Sequence[float],
    progress: Callable[[], object] = lambda: None,
) -> PairedScores:
    """Run both models over a dataset at every budget.

    Args:
        dataset: labels by the ids of the models' classes.
        before, after: sessions of the same classes and heads.
        budgets: in (0, 1].
        progress: called after each frame.

    Raises:
        DatasetError: a sample is damaged.
    """
    classes = len(before.manifest.classes)
    models = {budget: Models(before, after, budget) for budget in budgets}
    frames: dict[float, list[FramePair]] = {budget: [] for budget in budgets}
    for index in range(len(dataset)):
        sample = dataset[index]
        truth = Truth(sample.depth, sample.normals, sample.labels)
        for budget, pair in models.items():
            old, new = pair.run(sample)
            frames[budget].append(
                FramePair(
                    before=_values(truth, old, classes),
                    after=_values(truth, new, classes),
                    agreement=_agreement(truth, old, new),
                )
            )
        progress()
    return PairedScores(dataset.name, frames)


def _values(truth: Truth, outputs: Outputs, classes: int) -> Values:
    tasks = Scoreboard(classes).add(truth, outputs).scores()
    return {
        (task, metric): tasks[task][metric]
        for task, metric in MEASURES
        if metric in tasks.get(task, {})
    }


def _agreement(truth: Truth, old: Outputs, new: Outputs) -> dict[str, float]:
    found = {}
    if truth.labels is None and old.labels is not None and new.labels is not None:
        found["labels"] = float((old.labels == new.labels).mean())
    if truth.normals is None and old.normals is not None and new.normals is not None:
        angles = angles_deg(old.normals.reshape(-1, 3), new.normals.reshape(-1, 3))
        found["normals"] = float(np.median(angles))
    return found
