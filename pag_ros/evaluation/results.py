"""What an evaluation found: runs of frames with their scores, and the JSON of it all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros import __version__
from pag_ros.errors import ParameterError
from pag_ros.evaluation.truth_tally import TruthTally
from pag_ros.manifest import LabelClass
from pag_ros.runtime.calibration import cpu_name
from pag_ros.writing import is_writable, write_text

FORMAT = 1

BAG, DATASET = "bag", "dataset"
"""Where the pictures of an evaluation come from."""


@dataclass(frozen=True)
class FrameRecord:
    """What became of one frame.

    Attributes:
        time_s: of its stamp, counted from the run's first frame; where the stamps of a bag stand
            still, of its recording.
        latency_ms: live, from the image's stamp to the arrival of the frame's last output;
            offline, the duration of the processing. None if the frame has no outputs.
        density: share of the gated computation that was done, 0 to 1.
        late: live, whether the node itself says that it was published after its deadline.
        parts_ms: live, part of the way from the stamp to the last output's arrival -> how long it
            took; see `pag_ros.replay.live_log.PARTS`. Empty if the node did not tell.
    """

    time_s: float
    latency_ms: float | None = None
    density: float | None = None
    late: bool | None = None
    parts_ms: Mapping[str, float] = field(default_factory=dict)


TaskTable = Mapping[str, Mapping[str, float]]
"""Task -> metric -> value."""


@dataclass(frozen=True)
class Scores:
    """Accuracy against the ground truth; all empty where it has none.

    Attributes:
        tasks: of all frames.
        class_iou: intersection over union of each class, None where it never occurred.
        cameras: frame_id -> of its frames alone, where the bag has several cameras.
    """

    tasks: TaskTable = field(default_factory=dict)
    class_iou: tuple[float | None, ...] = ()
    cameras: Mapping[str, TaskTable] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One pass over the pictures at one setting.

    Attributes:
        name: for people: "budget 0.50", "live".
        budget: the fixed or average budget; None if the node chose it frame by frame, or if no
            network was run (see `pag_ros.lab.datasets.trivial`).
        records: of every frame, in order.
        outcomes: how many frames ended in which way, by the names in `pag_ros.budget.outcomes`.
    """

    name: str
    budget: float | None
    records: tuple[FrameRecord, ...]
    outcomes: Mapping[str, int]
    scores: Scores = field(default_factory=Scores)

    @property
    def latencies_ms(self) -> NDArray[np.float64]:
        """[n] of the frames that have one, in order."""
        return np.array([r.latency_ms for r in self.records if r.latency_ms is not None], float)

    @property
    def densities(self) -> NDArray[np.float64]:
        """[n] of the frames that have one, in order."""
        return np.array([r.density for r in self.records if r.density is not None], float)

    def late(self, deadline_ms: float) -> int:
        """Processed frames whose outputs came after the deadline."""
        return int((self.latencies_ms > deadline_ms).sum())


@dataclass(frozen=True)
class FramePictures:
    """Pictures of one frame, each [h,w,3] uint8 RGB.

    Attributes:
        image: what the camera saw.
        rows: name -> pictures by their caption: outputs at a budget, or the ground truth.
    """

    title: str
    image: NDArray[np.uint8]
    rows: Mapping[str, Mapping[str, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Evaluation:
    """Everything the report shows.

    Attributes:
        title: one line.
        live: over ROS in real time, or frame by frame.
        about: what was run, for people: bag, model, device, machine, versions.
        deadline_ms: stamp to outputs, None where there was none.
        runs: the first is the one shown in detail.
        counters: the node's own, or those of the bag reader.
        stages: duration of each part of the node's work, for people.
        problems: what was left out or went wrong, and how often.
        truth: what became of each topic of the bag's ground truth.
        depth_range_m: of the depth pictures' colours.
        source: `BAG` or `DATASET`.
    """

    title: str
    live: bool
    about: Mapping[str, str]
    deadline_ms: float | None
    runs: tuple[Run, ...]
    classes: tuple[LabelClass, ...]
    depth_range_m: tuple[float, float]
    counters: Mapping[str, int] = field(default_factory=dict)
    problems: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[FramePictures, ...] = ()
    stages: Mapping[str, str] = field(default_factory=dict)
    truth: tuple[TruthTally, ...] = ()
    source: str = BAG


def percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    """Return mean, p50, p95, p99 and max; nothing for no values."""
    if not values.size:
        return {}
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {
        "mean": float(values.mean()),
        "p50": float(p50),
        "p95": float(p95),
        "p99": float(p99),
        "max": float(values.max()),
    }


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers of an evaluation, without the pictures, as plain JSON values."""
    return {
        "format": FORMAT,
        "title": evaluation.title,
        "live": evaluation.live,
        "about": dict(evaluation.about),
        "deadline_ms": evaluation.deadline_ms,
        "classes": [c.name for c in evaluation.classes],
        "counters": dict(evaluation.counters),
        "problems": dict(evaluation.problems),
        "truth": {tally.kind: tally.to_json() for tally in evaluation.truth},
        "stages": dict(evaluation.stages),
        "runs": [_run_to_json(run, evaluation.deadline_ms) for run in evaluation.runs],
    }


def save_json(evaluation: Evaluation, path: Path) -> None:
    """Write `to_json`, whole or not at all; makes the folder.

    Raises:
        OSError: it cannot be written.
    """
    write_text(path, json.dumps(to_json(evaluation), indent=2) + "\n", make_folder=True)


def require_writable(path: Path) -> None:
    """Make a file's folder and see that it can be written to, before the work for it begins.

    Raises:
        ParameterError: it cannot.
    """
    if path.is_dir():
        raise ParameterError(f"{path}: is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = is_writable(path)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be written ({error.strerror})") from error
    if not writable:
        raise ParameterError(f"{path}: its folder cannot be written to; give another")


def about_software() -> dict[str, str]:
    """This machine and the versions that matter, for people."""
    python = platform.python_version()
    return {
        "machine": f"{os.cpu_count()} x {cpu_name()}, {platform.system()} {platform.machine()}",
        "software": f"pag_ros {__version__}, Python {python}, NumPy {np.__version__}",
    }


def _run_to_json(run: Run, deadline_ms: float | None) -> dict[str, Any]:
    return {
        "name": run.name,
        "budget": run.budget,
        "outcomes": dict(run.outcomes),
        "late": None if deadline_ms is None else run.late(deadline_ms),
        "latency_ms": percentiles(run.latencies_ms),
        "density": percentiles(run.densities),
        "scores": run.scores.tasks,
        "class_iou": run.scores.class_iou,
        "cameras": run.scores.cameras,
        "frames": [
            {
                "time_s": record.time_s,
                "latency_ms": record.latency_ms,
                "density": record.density,
            }
            for record in run.records
        ],
    }
