"""Scores a model, and trivial guesses, on a labelled dataset over budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pag_ros.budget.outcomes import PROCESSED
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.evaluation.passes import (
    Classes,
    Labelled,
    Passes,
    about_model,
    describe_scales,
)
from pag_ros.evaluation.results import DATASET, Evaluation, Run, TaskTable, about_software
from pag_ros.evaluation.samples import spread
from pag_ros.evaluation.scoring import Outputs, Scoreboard
from pag_ros.evaluation.truth import Truth
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.class_names import CommonClasses, common_classes, plain
from pag_ros.lab.datasets.trivial import TRIVIAL
from pag_ros.manifest import Manifest, load_manifest, save_manifest
from pag_ros.runtime import Session
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.network_size import Size, size_of, size_text
from pag_ros.runtime.outputs import maps_of

MAIN_METRICS = {
    "depth": ("delta1", "AbsRel"),
    "depth (median-scaled)": ("delta1",),
    "normals": ("median",),
    "segmentation": ("mIoU", "pixel_accuracy"),
    "boundary": ("ODS", "OIS", "AP"),
}
"""What a manifest keeps of the scores."""


@dataclass(frozen=True)
class DatasetScores:
    """What scoring a dataset found.

    Attributes:
        evaluation: everything a report shows; its runs are the budgets, then the trivial guesses.
        delta1: of each sample at the first budget, NaN without true depth.
        messages: what was left out and why, for people.
    """

    evaluation: Evaluation
    delta1: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    @property
    def budgets(self) -> dict[float, TaskTable]:
        """Budget -> scores over all samples (docs/evaluation.md)."""
        runs = self.evaluation.runs
        return {run.budget: run.scores.tasks for run in runs if run.budget is not None}

    @property
    def density(self) -> dict[float, float]:
        """Budget -> share of the gated computation that was done, mean over the samples."""
        runs = self.evaluation.runs
        return {
            run.budget: float(np.mean(run.densities))
            for run in runs
            if run.budget is not None and run.densities.size
        }

    @property
    def trivial(self) -> dict[str, TaskTable]:
        """Name of a trivial guess -> its scores; empty if they were not asked for."""
        return {run.name: run.scores.tasks for run in self.evaluation.runs if run.budget is None}


def score_dataset(
    dataset: Dataset,
    session: Session,
    budgets: Sequence[float],
    *,
    limit: int | None = None,
    mode: str = "fixed",
    trivial: bool = False,
    protocol: DepthProtocol | None = None,
    mount: Mount | None = None,
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
        mount: of the camera of all samples, which the depth of each is scaled by; None: it is not.
        progress: called after each sample.

    Raises:
        ParameterError: a budget is out of range, or none is given.
        DatasetError: a sample is damaged.
    """
    manifest, protocol = session.manifest, protocol or dataset.protocol
    common = common_classes(manifest.classes, dataset.classes)
    classes = scored_classes(manifest, common)
    passes = Passes(session, budgets, classes, protocol, maps_of(manifest), mode)
    guesses = {name: Scoreboard(0, protocol) for name in TRIVIAL if trivial}
    count = len(dataset) if limit is None else min(limit, len(dataset))
    shown = spread(count)
    for index in range(count):
        sample = dataset[index]
        truth = truth_of(sample, common)
        title = f"sample {index}"
        passes.process(_labelled(title, sample, truth, mount), index in shown)
        for name, board in guesses.items():
            _add_guess(board, name, sample, protocol)
        progress()
    messages = _messages(manifest, dataset, common)
    return DatasetScores(
        Evaluation(
            title=f"{manifest.name} on {dataset.name}",
            live=False,
            about=_about(session, dataset, mode, protocol, messages)
            | describe_scales(passes.scales),
            deadline_ms=None,
            runs=(*passes.runs(), *_guessed(guesses, count)),
            classes=classes.listed,
            depth_range_m=manifest.depth_range_m,
            counters={"samples in the dataset": len(dataset), "samples scored": count},
            samples=tuple(passes.samples),
            source=DATASET,
        ),
        passes.delta1,
        messages,
    )


def with_scores(
    manifest: Manifest, scores: Mapping[float, TaskTable], size: Size, precision: str = "fp32"
) -> Manifest:
    """The manifest with the main metrics of each budget, as "0.50" -> "depth delta1" -> value.

    Other scores in float32 make those in other precisions void: what these lose is told by the
    difference, and they were measured on other samples, or of another network.

    Args:
        manifest: of the model's own size.
        size: that they were measured at.
        precision: that they were measured in; another one than "fp32" at the model's own size.
    """
    rows = {f"{b:.2f}": main_scores(tasks) for b, tasks in scores.items()}
    if precision != "fp32":
        return replace(manifest, scores_in={**manifest.scores_in, precision: rows})
    if size == size_of(manifest):
        kept = manifest.scores_in if rows == manifest.scores else {}
        return replace(manifest, scores=rows, scores_in=kept)
    return replace(manifest, scores_at={**manifest.scores_at, size_text(size): rows})


def record_scores(
    model: Path, found: Mapping[str, Mapping[float, TaskTable]], size: Size
) -> tuple[str, ...]:
    """Keep scores in a model's manifest, see `with_scores`.

    Args:
        model: path of the ONNX file.
        found: precision -> budget -> scores, all of the same samples; those in "fp32" first.
        size: that they were measured at.

    Returns:
        The precisions whose scores the manifest had and that are void now.

    Raises:
        ModelError: the model or its manifest is missing or damaged.
        OSError: the manifest cannot be written.
    """
    before = after = load_manifest(model)
    for precision, scores in found.items():
        after = with_scores(after, scores, size, precision)
    save_manifest(after, model)
    return tuple(name for name in before.scores_in if name not in after.scores_in)


def main_scores(tasks: TaskTable) -> dict[str, float]:
    """ "depth delta1" -> value, and the others of `MAIN_METRICS`."""
    return {
        f"{task} {metric}": round(tasks[task][metric], 4)
        for task, metrics in MAIN_METRICS.items()
        if task in tasks
        for metric in metrics
        if metric in tasks[task]
    }


def scored_classes(manifest: Manifest, common: CommonClasses) -> Classes:
    """The classes that both have, in the model's colours; the model's where they share none."""
    if not common.names:
        return Classes(manifest.classes)
    by_name = {plain(c.name): c for c in manifest.classes}
    return Classes(tuple(by_name[name] for name in common.names), common.of_model)


def truth_of(sample: Sample, common: CommonClasses) -> Truth:
    """The sample's truth, with labels by the ids of the common classes if there are any."""
    labels = None
    if sample.labels is not None and common.names:
        labels = common.of_dataset.take(sample.labels)
    return Truth(sample.depth, sample.normals, labels, sample.boundary)


def _labelled(title: str, sample: Sample, truth: Truth, mount: Mount | None) -> Labelled:
    """A sample to be scored."""
    return Labelled(
        title=title,
        image=sample.color,
        focal_px=sample.focal_px,
        truth=truth,
        intrinsics=sample.intrinsics,
        mount=mount,
        is_alone=True,
    )


def _add_guess(board: Scoreboard, name: str, sample: Sample, protocol: DepthProtocol) -> None:
    if sample.depth is None:
        return
    counts = protocol.counts(sample.depth)
    if counts.any():
        guess = TRIVIAL[name](sample, float(np.median(sample.depth[counts])))
        board.add(Truth(sample.depth), Outputs(guess))


def _guessed(guesses: Mapping[str, Scoreboard], count: int) -> list[Run]:
    """The guesses as runs, as far as there was a depth to guess."""
    runs = [
        Run(name, None, (), {PROCESSED: count}, board.scores()) for name, board in guesses.items()
    ]
    return [run for run in runs if run.scores.tasks]


def _messages(manifest: Manifest, dataset: Dataset, common: CommonClasses) -> list[str]:
    """Why labels are left out, or which of them are scored."""
    if "segmentation" not in manifest.heads or common.same or not dataset.classes:
        return []
    if not common.names:
        names = ", ".join(dataset.classes[:3])
        return [
            f"{dataset.name}: segmentation is not scored, the model has none of its classes "
            f"({names}, ...)"
        ]
    return [
        f"{dataset.name}: segmentation is scored on the {len(common.names)} classes of equal "
        f"name, where the truth is one of them: {', '.join(common.names)}"
    ]


def _about(
    session: Session, dataset: Dataset, mode: str, protocol: DepthProtocol, messages: list[str]
) -> dict[str, str]:
    """What was run, for people."""
    crop = "" if protocol.crop == DepthProtocol().crop else ", inside a crop"
    return {
        **about_model(session),
        "dataset": dataset.name,
        "budget mode": mode,
        "true depths that count": f"{protocol.min_m:g} to {protocol.cap_m:g} m{crop}",
        **({"note": " ".join(messages)} if messages else {}),
        **about_software(),
    }
