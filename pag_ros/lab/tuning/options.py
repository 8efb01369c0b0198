"""What a tuning is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pag_ros.errors import ParameterError
from pag_ros.evaluation.passes import require_budgets
from pag_ros.lab.recordings import ImportOptions
from pag_ros.lab.teachers import TeacherSpec
from pag_ros.runtime.onnx_precheck import is_transformer

MAX_MINUTES = 10_000.0
BUDGETS = (1.0, 0.5, 0.3)


@dataclass(frozen=True)
class TuneOptions:
    """A tuning.

    Attributes:
        bags: recordings of the place.
        out: folder of all that is written; the tuned model is OUT/NAME.onnx, NAME that of `out`.
        model: the ONNX file to start from; its weights lie beside it (.safetensors).
        minutes: to train, without reading bags and judging.
        budgets: that the result is judged at, the most important one first.
        recording: how bags are read.
        teachers: that label what the recordings have no truth for.
        seed: of everything random.

    Raises:
        ParameterError: a value is out of range.
    """

    bags: tuple[Path, ...]
    out: Path
    model: Path
    minutes: float = 10.0
    budgets: tuple[float, ...] = BUDGETS
    recording: ImportOptions = field(default_factory=ImportOptions)
    teachers: tuple[TeacherSpec, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.bags:
            raise ParameterError("no bag to tune on")
        if not 0.0 < self.minutes <= MAX_MINUTES:
            raise ParameterError(
                f"--minutes must be above 0 and at most {MAX_MINUTES:g}, got {self.minutes:g}"
            )
        require_budgets(self.budgets)

    @property
    def name(self) -> str:
        """Of the tuned model."""
        return self.out.resolve().name

    def identity(self) -> dict[str, Any]:
        """What a run must have in common with the one it goes on from."""
        return {
            "bags": [str(bag.resolve()) for bag in self.bags],
            "model": str(self.model.resolve()),
            "recording": repr(self.recording),
            "teachers": repr(self.teachers),
            "seed": self.seed,
        }


def weights_of(model: Path) -> Path:
    """The weights that a model was exported from.

    Raises:
        ParameterError: they are not beside it, or it is an adopted transformer.
    """
    if is_transformer(model):
        raise ParameterError(
            f"{model}: an adopted transformer; `pag_ros adopt CHECKPOINT --recording BAG` fits it "
            f"to a recording; or it teaches a model that is tuned: --teacher depth:{model}"
        )
    weights = model.with_suffix(".safetensors")
    if not weights.is_file():
        raise ParameterError(
            f"{weights}: not there; to tune a model, the weights it was exported from must lie "
            "beside it (network.safetensors of its training, renamed)"
        )
    return weights
