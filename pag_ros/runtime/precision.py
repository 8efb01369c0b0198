"""Which numbers the CPU computes with, and what that costs in scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pag_ros.errors import BackendError, ParameterError
from pag_ros.kernels import Precision
from pag_ros.manifest import Manifest

PRECISIONS = ("auto", "fp32", "bf16", "int8")
"""As a user asks for them. "auto": the fastest whose measured loss is at most `ALLOWED_LOSS`."""

ALLOWED_LOSS = 0.01
FASTEST_FIRST = ("int8", "bf16")
"""What is faster than float32."""
_ERRORS = ("AbsRel", "median")
"""Scores of which less is better."""


def chosen_precision(
    asked: str, manifest: Manifest, native: Collection[str], slow: Collection[str] = ()
) -> str:
    """What to compute in: "fp32", "bf16" or "int8".

    Args:
        asked: one of `PRECISIONS`.
        native: the precisions that the processor has instructions for and the model is ready for,
            float32 aside.
        slow: those of them that are slower than float32 here, which auto does not take.

    Raises:
        ParameterError: no such precision.
        BackendError: bf16 is asked for by name, and the processor lacks the instructions: with
            others it would be slower than float32 and less exact.
    """
    if asked not in PRECISIONS:
        raise ParameterError(f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}")
    if asked == "auto":
        fast = [name for name in FASTEST_FIRST if name in native and name not in slow]
        return next((name for name in fast if is_allowed(name, manifest)), "fp32")
    if asked == "bf16" and asked not in native:
        raise BackendError("this processor has no instructions for bf16; take precision fp32")
    return asked


def float_precision(precision: str, fast: Collection[str]) -> Precision:
    """What all that is not rounded to 8 bits computes in.

    Args:
        precision: what was chosen.
        fast: the precisions that are faster than float32 here.
    """
    if precision == "bf16" or (precision == "int8" and "bf16" in fast):
        return "bf16"
    return "fp32"


def is_allowed(precision: str, manifest: Manifest) -> bool:
    """Whether the model's loss in a precision was measured, and is at most `ALLOWED_LOSS`."""
    found = loss_in(precision, manifest)
    return found is not None and found <= ALLOWED_LOSS


def unmeasured(manifest: Manifest, fast: Collection[str]) -> list[str]:
    """The precisions faster than float32 whose loss nobody has measured, the fastest first.

    Args:
        fast: the precisions that are faster than float32 here.
    """
    return [p for p in FASTEST_FIRST if p in fast and loss_in(p, manifest) is None]


def untried_text(model: Path, precisions: Sequence[str]) -> str:
    """What to say where "auto" takes float32 for want of a measured loss, and the way out.

    Args:
        model: path of the ONNX file.
        precisions: what `unmeasured` gave.
    """
    command = score_command(model, "ROOMS", precisions[-1])
    text = f"precision auto takes fp32: what {model.name} loses in {' and '.join(precisions)} was "
    ranges = f"; int8 also needs the ranges of `pag_ros quantize {model} --data ROOMS`"
    return f"{text}not measured; `{command}` does it{ranges if 'int8' in precisions else ''}"


def score_command(model: Path, dataset: str | Path, precision: str) -> str:
    """The command that measures and records what a model loses in a precision."""
    data = f"--model {model} --dataset {dataset}"
    return f"pag_ros score {data} --device cpu --precision {precision} --record"


def loss_in(precision: str, manifest: Manifest) -> float | None:
    """The largest share that a task loses in a precision beside float32, at any budget.

    A task's loss is the mean over its scores. Below 0 if all of them gain; None if it was not
    measured.
    """
    others = manifest.scores_in.get(precision, {})
    losses = [
        fmean(losses)
        for budget, scores in manifest.scores.items()
        for losses in _losses_by_task(scores, others.get(budget, {})).values()
    ]
    return max(losses, default=None)


def _losses_by_task(
    before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, list[float]]:
    losses: dict[str, list[float]] = {}
    for name in before.keys() & after.keys():
        task, _, score = name.rpartition(" ")
        sign = -1.0 if score in _ERRORS else 1.0
        loss = sign * (before[name] - after[name]) / max(abs(before[name]), 1e-9)
        losses.setdefault(task, []).append(loss)
    return losses
