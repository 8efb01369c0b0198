"""Stored results of a comparison of methods: one JSON file for each method, budget and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
MAX_RESULT_BYTES = 1 << 20
_MAX_SEED = (1 << 63) - 1

FULL = "full"
"""The method that computes everything."""
OURS = "pag"

TITLES = {
    FULL: "everything computed",
    OURS: "PAG, one network for all budgets (ours)",
    "pag_specialist": "PAG, a network for each budget",
    "pag_plain": "PAG, a 3x3 in the MultiPool's place",
    "pag_interpolated": "PAG, skipped pixels interpolated",
    "truncated": "truncated trunk",
    "smaller_input": "smaller input",
    "layer_skip": "layers skipped per image",
    "sact": "pixels that halt (SACT-like)",
    "random": "random perforation",
    "random_interpolated": "random perforation, interpolated",
    "grid": "grid perforation",
    "grid_interpolated": "grid perforation, interpolated",
}
"""Method -> its name for people, in the order of tables."""


@dataclass(frozen=True)
class RunMetric:
    """A score: its key in a run, its task, its name for people, and which way is better."""

    key: str
    task: str
    title: str
    higher_is_better: bool


METRICS = (
    RunMetric("depth delta1", "depth", "depth δ < 1.25", True),
    RunMetric("depth AbsRel", "depth", "depth AbsRel", False),
    RunMetric("normals median", "normals", "normals median, °", False),
    RunMetric("segmentation mIoU", "segmentation", "labels mIoU", True),
)
"""What is compared, metrics of gating.md section 5; the first of each task is its main one."""


@dataclass(frozen=True)
class RunResult:
    """What became of one method at one budget with one seed.

    Attributes:
        method: one of `TITLES`.
        budget: asked for, share of the gated multiply-adds, in (0, 1].
        seed: of training.
        scores: key of `METRICS` -> value; tasks the network does not have are missing.
        macs: multiply-adds of an image: "mean", "p5", "p95", and of the mean the parts "dense",
            "gates", "gated" and "interpolation".
        realised_budget: the share that was really spent.
        settings: all else that the result depends on.
        milliseconds: median time of an image in the runtime, None where it was not measured.
        timing: how, or why not; for people.
    """

    method: str
    budget: float
    seed: int
    scores: Mapping[str, float]
    macs: Mapping[str, float]
    realised_budget: float
    settings: Mapping[str, Any]
    milliseconds: float | None = None
    timing: str = ""

    @property
    def file_name(self) -> str:
        return f"{self.method}_{self.budget:.2f}_seed{self.seed}.json"


def save_run(run: RunResult, folder: Path) -> None:
    """Write the run's file, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(run)}, indent=2) + "\n"
    write_text(folder / run.file_name, text, make_folder=True)


def load_run(path: Path) -> RunResult:
    """Read and check one file of `save_run`.

    Raises:
        DatasetError: it is missing, damaged, or of another kind.
    """
    remedy = "delete it and compare again"
    with reading(path, "a result of `pag_ros compare`", DatasetError, remedy):
        data = json.loads(read_limited(path, MAX_RESULT_BYTES))
        if data.pop("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        run = _run_from_json(data)
        _check(run)
        return run


def load_runs(folder: Path) -> list[RunResult]:
    """All runs in a folder, ordered by method, falling budget and seed.

    Raises:
        DatasetError: there is none, or one is damaged.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DatasetError(f"{folder}: no results; make them with `pag_ros compare`")
    order = list(TITLES)
    runs = [load_run(path) for path in paths]
    return sorted(runs, key=lambda run: (order.index(run.method), -run.budget, run.seed))


def _run_from_json(data: dict[str, Any]) -> RunResult:
    if unknown := data.keys() - {entry.name for entry in fields(RunResult)}:
        raise ValueError(f"{checks.shown(sorted(unknown))} are no entries of a result")
    return RunResult(
        method=data["method"],
        budget=data["budget"],
        seed=data["seed"],
        scores=data["scores"],
        macs=data["macs"],
        realised_budget=data["realised_budget"],
        settings=data["settings"],
        milliseconds=data.get("milliseconds"),
        timing=data.get("timing", ""),
    )


def _check(run: RunResult) -> None:
    if run.method not in TITLES:
        raise ValueError(f"unknown method {checks.shown(run.method)}")
    checks.whole(run.seed, "seed", 0, _MAX_SEED)
    numbers = [run.budget, run.realised_budget, *run.scores.values(), *run.macs.values()]
    if run.milliseconds is not None:
        numbers.append(run.milliseconds)
    if not all(checks.is_number(value) for value in numbers):
        raise ValueError("a value that is no number")
    if not 0.0 < run.budget <= 1.0:
        raise ValueError(f"budget {run.budget!r} not in (0, 1]")
    if missing := {"mean", "p5", "p95", "dense", "gates", "gated", "interpolation"} - set(run.macs):
        raise ValueError(f"macs lack {', '.join(sorted(missing))}")
    if not isinstance(run.settings, dict) or not isinstance(run.timing, str):
        raise ValueError("settings are no mapping, or timing no text")
