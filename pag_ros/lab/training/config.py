"""What a training run is told: phases, loss weights, and how its gates learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from pag_ros.checks import is_number, shown
from pag_ros.errors import ParameterError
from pag_ros.lab.model import NetworkConfig
from pag_ros.reading import read_limited, reading

MAX_CONFIG_BYTES = 1 << 20

GatingMode = Literal["budgets", "paper"]

GuideName = Literal["none", "start", "average"]

_SIDES_PX = (32, 4096)
"""Limits of a sample's sides; a smaller one leaves the deepest features without a pixel."""

_SCALES = (0.25, 4.0)

_MAX_BATCH, _MAX_WORKERS, _MAX_COUNT = 1 << 16, 1 << 10, (1 << 31) - 1
"""What no machine needs, and what no counter overflows at."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one image size.

    Attributes:
        size: (width, height) of the samples.
        batch: samples an iteration, those of all processes together.
        iterations: of this phase.
        learning_rate: of the new layers at the start of the phase; falls along a cosine.
        final_learning_rate: at its end.
        encoder_rate: the pretrained encoder's learning rate relative to that; 0 = frozen.

    Raises:
        ParameterError: a value is outside what it may be.
    """

    size: tuple[int, int]
    batch: int
    iterations: int
    learning_rate: float
    final_learning_rate: float
    encoder_rate: float

    def __post_init__(self) -> None:
        if len(self.size) != 2:
            raise ParameterError(f"size: expected [width, height], not {shown(list(self.size))}")
        for side in self.size:
            _check_whole("size", side, *_SIDES_PX)
        _check_whole("batch", self.batch, 1, _MAX_BATCH)
        _check_whole("iterations", self.iterations, 1, _MAX_COUNT)
        for name in ("learning_rate", "final_learning_rate", "encoder_rate"):
            _check_number(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class TrainConfig:
    """A training run; see config/train/ for documented files.

    Attributes:
        network: what to train.
        phases: run one after the other.
        weights: loss weight per head.
        class_weights: of the segmentation loss, one per class; empty = all equal.
        gating: "budgets" (one network for every budget) or "paper" (a specialist for one rate).
        sandwich: of "budgets": each step runs the full budget, the smallest and two random ones,
            and the full one teaches the others; about four times the time of a step.
        density_min: of "budgets": smallest density trained for.
        rho: of "paper": share of the pixels to compute, of every gate or one for each.
        rho_weight: of "paper": weight of the KL divergence from `rho`, a gate.
        gate_temperature: of "paper": of the Gumbel-softmax, (start, end).
        multipool_temperature: of the MultiPool's choice, (start, end).
        frozen_blocks: so many first encoder blocks (of a ResNet: stages) keep their weights.
        encoder_statistics: "frozen" keeps the pretrained encoder's normalisation statistics;
            "learned" suits an encoder that starts at random.
        guide: what teaches a head where a sample has no truth for it: nothing; "start", a frozen
            copy of the weights that the run starts from, so that it does not drift; "average", the
            moving average of the weights, of whose depth only the shape counts. See `Guide`.
        guide_weights: of its loss relative to the truth's, per head; 1 where none is given.
        start_share: share of the start's weights in those that the run is finished with: what was
            forgotten comes back faster than what was learned goes (Wortsman et al., "Robust
            fine-tuning of zero-shot models", CVPR 2022).
        keeps_best: what validates best is what is finished, the start included.
        patience: of a run that keeps the best: validations in a row that are no better, after
            which it ends; 0 = it never does.
        flaws: share of the samples that get a camera's flaws; fewer where pictures are of the very
            camera that the network will see through.
        scales: every batch gets one of them at random, relative to its phase's size: a network for
            all of these sizes.
        size_exponent: how far it shall see what is in a smaller picture, see
            `Manifest.size_exponent`; the model's card says the same.
        mixture: share of each dataset in a batch; empty = as many as it has frames.
        minutes: the run ends by the clock instead of after its iterations; of one phase only.
        warm_up: iterations over which the learning rate rises at the start.
        final_share: share of the run, at its end, that trains what is shipped: frozen
            normalisation statistics, no gate noise, temperatures at their end.
        average_decay: of the moving average of the weights, per iteration, which is what is
            validated and shipped; .998 was worse than the last weights in runs of thousands.
        recalibrate: batches of training data to compute normalisation statistics anew from at the
            end; 0 = keep the running ones.
        log_every, validate_every: iterations; a checkpoint is written after each validation.
        validation_frames: at most so many are validated on.
        workers: processes that read samples, for each process that trains.
        resident: frames are decoded once and stay on the training device, which augments them
            itself (12 bytes a pixel): for a GPU, which no loader keeps busy.
        half: the finished weights are rounded to 16 bits, which halves their file.
        seed: of everything random.

    Both temperatures fall geometrically and reach their end where the final share begins.

    Raises:
        ParameterError: a value is outside what it may be, or two contradict each other.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    phases: tuple[Phase, ...] = ()
    weights: Mapping[str, float] = field(
        default_factory=lambda: {"depth": 1.0, "normals": 1.0, "segmentation": 0.5, "boundary": 0.5}
    )
    class_weights: tuple[float, ...] = ()
    gating: GatingMode = "budgets"
    sandwich: bool = False
    density_min: float = 0.15
    rho: float | tuple[float, ...] = 0.7
    rho_weight: float = 0.01
    gate_temperature: tuple[float, float] = (1.0, 0.1)
    multipool_temperature: tuple[float, float] = (2.0, 0.2)
    frozen_blocks: int = 3
    encoder_statistics: Literal["frozen", "learned"] = "frozen"
    guide: GuideName = "none"
    guide_weights: Mapping[str, float] = field(default_factory=dict)
    start_share: float = 0.0
    keeps_best: bool = False
    patience: int = 0
    flaws: float = 1.0
    scales: tuple[float, ...] = (1.0,)
    size_exponent: float = 0.0
    mixture: tuple[float, ...] = ()
    minutes: float | None = None
    warm_up: int = 200
    final_share: float = 0.2
    average_decay: float = 0.99
    recalibrate: int = 50
    log_every: int = 100
    validate_every: int = 500
    validation_frames: int = 60
    workers: int = 1
    resident: bool = False
    half: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        if self.class_weights and len(self.class_weights) != self.network.classes:
            raise ParameterError(
                f"class_weights: {len(self.class_weights)} for {self.network.classes} classes"
            )
        if missing := set(self.network.heads) - set(self.weights):
            raise ParameterError(f"weights: none for the heads {sorted(missing)}")

    def _check_choices(self) -> None:
        if self.gating not in ("budgets", "paper"):
            raise ParameterError(f"gating: expected budgets or paper, not {shown(self.gating)}")
        if self.guide not in ("none", "start", "average"):
            raise ParameterError(f"guide: expected none, start or average, not {shown(self.guide)}")
        for name in ("sandwich", "keeps_best", "resident", "half"):
            if not isinstance(getattr(self, name), bool):
                value = shown(getattr(self, name))
                raise ParameterError(f"{name}: expected true or false, not {value}")
        if self.minutes is not None and len(self.phases) != 1:
            raise ParameterError("minutes: of a run of one phase only")
        if self.sandwich and self.gating == "paper":
            raise ParameterError("sandwich: of gating budgets only; paper trains for one rate")
        if self.encoder_statistics not in ("frozen", "learned"):
            raise ParameterError(
                f"encoder_statistics: expected frozen or learned, not "
                f"{shown(self.encoder_statistics)}"
            )

    def _check_numbers(self) -> None:
        for name in ("log_every", "validate_every", "validation_frames"):
            _check_whole(name, getattr(self, name), 1, _MAX_COUNT)
        for name in ("frozen_blocks", "recalibrate", "seed", "warm_up", "patience"):
            _check_whole(name, getattr(self, name), 0, _MAX_COUNT)
        _check_whole("workers", self.workers, 0, _MAX_WORKERS)
        for name in ("gate_temperature", "multipool_temperature"):
            pair = getattr(self, name)
            if not (isinstance(pair, tuple) and len(pair) == 2 and _positive(*pair)):
                raise ParameterError(
                    f"{name}: expected [start, end], both above 0, not {shown(pair)}"
                )
        rates = self.rho if isinstance(self.rho, tuple) else (self.rho,)
        if not all(_positive(rate) and rate < 1.0 for rate in rates):
            raise ParameterError(
                f"rho: expected values between 0 and 1 (excluded), not {shown(self.rho)}"
            )
        for name in ("final_share", "start_share", "flaws", "size_exponent"):
            value = getattr(self, name)
            if not (is_number(value) and 0.0 <= value <= 1.0):
                raise ParameterError(f"{name}: expected 0 to 1, not {shown(value)}")
        if not (is_number(self.average_decay) and 0.0 <= self.average_decay < 1.0):
            raise ParameterError(
                f"average_decay: expected 0 to 1 (excluded), not {shown(self.average_decay)}"
            )
        if not (self.minutes is None or _positive(self.minutes)):
            raise ParameterError(f"minutes: expected a number above 0, not {shown(self.minutes)}")
        if not (isinstance(self.mixture, tuple) and all(map(_positive, self.mixture))):
            raise ParameterError("mixture: expected a list of numbers above 0, one a dataset")
        if not (isinstance(self.scales, tuple) and self.scales and all(map(_scale, self.scales))):
            raise ParameterError(f"scales: expected a list of {_SCALES[0]:g} to {_SCALES[1]:g}")
        if not (_positive(self.density_min) and self.density_min <= 1.0):
            raise ParameterError(
                f"density_min: expected above 0 up to 1, not {shown(self.density_min)}"
            )
        _check_number("rho_weight", self.rho_weight, 0.0)
        for name in ("weights", "guide_weights"):
            weights = getattr(self, name)
            if not isinstance(weights, Mapping):
                raise ParameterError(f"{name}: expected {{head: weight}}, not {shown(weights)}")
            for head, weight in weights.items():
                _check_number(f"{name}: {_plain(head)}", weight, 0.0)
        if not (isinstance(self.class_weights, tuple) and all(map(_positive, self.class_weights))):
            raise ParameterError("class_weights: expected a list of numbers above 0")

    @property
    def iterations(self) -> int:
        """The sum of all phases' iterations."""
        return sum(phase.iterations for phase in self.phases)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build from parsed YAML.

        Raises:
            ParameterError: an unknown key, a phase that lacks one, or a value out of range.
            ModelError: the same of the network.
        """
        _check_keys(cls, values)
        try:
            phases = tuple(
                _phase(number, phase) for number, phase in enumerate(values["phases"], 1)
            )
            if not phases:
                raise ParameterError("phases: expected at least one")
            network = NetworkConfig.from_mapping(values.get("network", {}))
            plain: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
            }
            return cls(**{**plain, "phases": phases, "network": network})
        except KeyError as error:
            raise ParameterError(f"training configuration lacks {error}") from error
        except TypeError as error:
            raise ParameterError(f"training configuration: {error}") from error


def read_config(path: Path) -> TrainConfig:
    """The training run that a YAML file describes.

    Raises:
        ParameterError: the file cannot be read, or a value in it is missing or outside what it may
            be; the text names the file and the entry.
    """
    with reading(path, "a training configuration", ParameterError):
        values = yaml.safe_load(read_limited(path, MAX_CONFIG_BYTES))
        if not isinstance(values, dict):
            raise ParameterError("expected a mapping; see config/train/ for examples")
        return TrainConfig.from_mapping(values)


def _phase(number: int, values: Mapping[str, Any]) -> Phase:
    try:
        if not isinstance(values, Mapping):
            raise ParameterError(f"expected a mapping, not {shown(values)}")
        _check_keys(Phase, values)
        return Phase(**{**values, "size": tuple(values["size"])})
    except ParameterError as error:
        raise ParameterError(f"phase {number}: {error}") from error


def _check_keys(kind: type[Phase | TrainConfig], values: Mapping[str, Any]) -> None:
    known = [entry.name for entry in fields(kind)]
    if unknown := [key for key in values if key not in known]:
        raise ParameterError(f"{_plain(unknown[0])}: no such key; there are {', '.join(known)}")


def _positive(*values: Any) -> bool:
    return all(is_number(value) and value > 0.0 for value in values)


def _scale(value: Any) -> bool:
    return is_number(value) and _SCALES[0] <= value <= _SCALES[1]


def _plain(key: object) -> str:
    return key if isinstance(key, str) else shown(key)


def _check_number(name: str, value: Any, low: float) -> None:
    if not (is_number(value) and value >= low):
        hint = " (YAML takes 1e-3 for text: write 1.0e-3)" if isinstance(value, str) else ""
        raise ParameterError(
            f"{name}: expected a number of {low:g} or more, not {shown(value)}{hint}"
        )


def _check_whole(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ParameterError(
            f"{name}: expected a whole number of {low} to {high}, not {shown(value)}"
        )
