"""Lets the tuned model run in fewer bits: its ranges for 8 bits, and what each precision loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import BackendError
from pag_ros.evaluation.results import TaskTable
from pag_ros.lab.datasets import Dataset
from pag_ros.lab.datasets.excerpt import Excerpt
from pag_ros.lab.datasets.scores import record_scores, score_dataset
from pag_ros.lab.quantize import quantize
from pag_ros.lab.tuning.progress import Progress
from pag_ros.manifest import load_manifest
from pag_ros.runtime import open_session
from pag_ros.runtime.network_size import size_of
from pag_ros.runtime.openvino.quantization import save_quantization
from pag_ros.runtime.openvino.session import native_precisions
from pag_ros.runtime.precision import ALLOWED_LOSS, FASTEST_FIRST, loss_in, score_command

RANGE_PICTURES = 32
"""That the ranges are measured on."""
SCORED_FRAMES = 40
"""Of the held-out frames, at most: every precision sees the same ones, so that few tell a loss."""


@dataclass(frozen=True)
class PrecisionLoss:
    """What a precision loses beside float32.

    Attributes:
        precision: "int8" or "bf16".
        loss: the largest share that a task loses, see `loss_in`; None if it is not known.
        reason: why it is not known, and what to do about it; empty if it is.
    """

    precision: str
    loss: float | None
    reason: str = ""

    def text(self) -> str:
        """For people."""
        if self.loss is None:
            return self.reason
        allowed = self.loss <= ALLOWED_LOSS
        takes = "takes it where it is the fastest" if allowed else "does not take it"
        return f"a task loses {100 * max(self.loss, 0.0):.1f} % at most; precision auto {takes}"


def record_precisions(
    model: Path,
    held_out: Dataset,
    folder: Path,
    pictures: Sequence[Dataset],
    budgets: Sequence[float],
    progress: Progress,
    otherwise: str = "run the same command again",
) -> list[PrecisionLoss]:
    """Make the ranges for 8 bits; keep in the manifest the scores in float32 and in what is faster.

    Args:
        model: path of the ONNX file, its manifest beside it.
        held_out: what it is scored on, `SCORED_FRAMES` of it.
        folder: where that lies, for the command that makes up for what was not measured.
        pictures: that the ranges are measured on, alike from each.
        budgets: that it is scored at.
        otherwise: what makes up for it once NNCF is installed, for people.

    Returns:
        Of each precision but float32 what it loses, or why that is not known.

    Raises:
        DatasetError: a picture is damaged.
        ModelError: the model is.
        OSError: the model's folder cannot be written.
    """
    reasons = _without_instructions(model, folder)
    reasons |= _without_ranges(model, pictures, progress, otherwise)
    measured = ["fp32", *(name for name in FASTEST_FIRST if name not in reasons)]
    excerpt = Excerpt(held_out, SCORED_FRAMES)
    progress.stage(f"scoring in {', '.join(measured)}", len(measured) * len(excerpt))
    found = {name: _scores(model, name, excerpt, budgets, progress) for name in measured}
    record_scores(model, found, size_of(load_manifest(model)))
    return [_loss(name, model, reasons) for name in FASTEST_FIRST]


def _without_instructions(model: Path, folder: Path) -> dict[str, str]:
    """Precision that the processor is too slow in -> what to say of it."""
    return {
        name: "not measured, for this processor has no good instructions for it; on one that has: "
        f"`{score_command(model, folder, name)}`"
        for name in FASTEST_FIRST
        if name not in native_precisions()
    }


def _without_ranges(
    model: Path, pictures: Sequence[Dataset], progress: Progress, otherwise: str
) -> dict[str, str]:
    """Write the ranges that int8 needs; what to say of it where that cannot be done."""
    progress.stage("measuring ranges for 8 bits")
    try:
        quantization = quantize(model, pictures, RANGE_PICTURES, lambda: None)
    except BackendError as error:
        return {"int8": f"without ranges: {error}, and {otherwise}"}
    save_quantization(quantization, model)
    return {}


def _scores(
    model: Path, precision: str, dataset: Dataset, budgets: Sequence[float], progress: Progress
) -> Mapping[float, TaskTable]:
    with closing(open_session(model, "cpu", precision=precision)) as session:
        return score_dataset(dataset, session, budgets, progress=progress.step).budgets


def _loss(precision: str, model: Path, reasons: Mapping[str, str]) -> PrecisionLoss:
    if precision in reasons:
        return PrecisionLoss(precision, None, reasons[precision])
    loss = loss_in(precision, load_manifest(model))
    no_truth = "not measured, for the held-out frames have no truth"
    return PrecisionLoss(precision, loss, no_truth if loss is None else "")
