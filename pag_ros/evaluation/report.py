"""An evaluation as one HTML file that needs nothing else: pictures, charts and tables within."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.budget.outcomes import MEANINGS, PROCESSED, UNACCOUNTED
from pag_ros.errors import BackendError
from pag_ros.evaluation import charts
from pag_ros.evaluation.html import fill, trusted
from pag_ros.evaluation.results import BAG, Evaluation, TaskTable, percentiles, save_json
from pag_ros.image.pictures import color_depth
from pag_ros.manifest import LabelClass
from pag_ros.writing import write_text

HTML_NAME = "report.html"
JSON_NAME = "report.json"
TEMPLATE = "evaluation/report.html.j2"


@dataclass(frozen=True)
class Metric:
    """How one metric is called and written: `scale` and `unit` for people, better up or down."""

    task: str
    name: str
    text: str
    scale: float
    unit: str
    higher_is_better: bool

    def format(self, value: float | None) -> str:
        """The value with its unit; a dash where there is none."""
        return "-" if value is None else f"{value * self.scale:.{self.digits}f}{self.unit}"

    @property
    def digits(self) -> int:
        return 1 if self.unit in (" %", "°") else 3


DEPTH_TASKS = ("depth", "depth (median-scaled)")
METRICS = (
    *(
        metric
        for task in DEPTH_TASKS
        for metric in (
            Metric(task, "delta1", "δ < 1.25", 100, " %", True),
            Metric(task, "delta2", "δ < 1.25²", 100, " %", True),
            Metric(task, "delta3", "δ < 1.25³", 100, " %", True),
            Metric(task, "AbsRel", "AbsRel", 1, "", False),
            Metric(task, "SqRel", "SqRel", 1, " m", False),
            Metric(task, "RMSE", "RMSE", 1, " m", False),
            Metric(task, "RMSElog", "RMSE log", 1, "", False),
            Metric(task, "SILog", "SILog", 1, "", False),
        )
    ),
    Metric("normals", "mean", "mean angle", 1, "°", False),
    Metric("normals", "median", "median angle", 1, "°", False),
    Metric("normals", "RMSE", "RMSE", 1, "°", False),
    Metric("normals", "<11.25", "within 11.25°", 100, " %", True),
    Metric("normals", "<22.5", "within 22.5°", 100, " %", True),
    Metric("normals", "<30", "within 30°", 100, " %", True),
    Metric("segmentation", "mIoU", "mIoU", 100, " %", True),
    Metric("segmentation", "pixel_accuracy", "pixel accuracy", 100, " %", True),
    Metric("segmentation", "mean_accuracy", "mean accuracy", 100, " %", True),
    Metric("boundary", "ODS", "ODS", 1, "", True),
    Metric("boundary", "OIS", "OIS", 1, "", True),
    Metric("boundary", "AP", "AP", 1, "", True),
)

HEADLINES = (
    ("depth", "delta1"),
    ("normals", "median"),
    ("segmentation", "mIoU"),
    ("boundary", "ODS"),
)


@dataclass(frozen=True)
class BigNumber:
    """One big number."""

    value: str
    text: str
    note: str = ""
    alert: bool = False


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write report.html and report.json into a folder, each whole or not at all.

    Returns:
        The path of the HTML file.

    Raises:
        BackendError: the libraries of the `eval` extra are not installed.
    """
    html = render(evaluation)
    save_json(evaluation, folder / JSON_NAME)
    write_text(folder / HTML_NAME, html, make_folder=True)
    return folder / HTML_NAME


def render(evaluation: Evaluation) -> str:
    """The report as HTML text.

    Raises:
        BackendError: the libraries of the `eval` extra are not installed.
    """
    try:
        import matplotlib  # noqa: F401 - charts.py draws with it
    except ImportError as error:
        raise BackendError(f"the report needs {error.name}: pip install 'pag_ros[eval]'") from error
    return fill(
        TEMPLATE,
        {"picture": data_uri},
        evaluation=evaluation,
        run=evaluation.runs[0],
        outcome_texts=MEANINGS,
        tiles=list(tiles(evaluation)),
        captions=captions(evaluation),
        charts=[(text, trusted(svg)) for text, svg in drawn(evaluation)],
        score_tasks=score_tasks(evaluation),
        class_rows=list(class_rows(evaluation)),
        depth_scale=depth_scale(*evaluation.depth_range_m),
    )


def tiles(evaluation: Evaluation) -> Iterator[BigNumber]:
    """The row of big numbers."""
    run = evaluation.runs[0]
    processed, unaccounted = run.outcomes[PROCESSED], run.outcomes.get(UNACCOUNTED, 0)
    note = f"{unaccounted} {UNACCOUNTED}" if evaluation.live else ""
    total = len(run.records)
    yield BigNumber(f"{processed} / {total}", "frames answered", note, alert=unaccounted > 0)
    latency = percentiles(run.latencies_ms)
    if latency:
        note = f"p95 {latency['p95']:.0f}, p99 {latency['p99']:.0f} ms"
        what = "stamp to outputs, median" if evaluation.live else "a frame, median"
        yield BigNumber(f"{latency['p50']:.0f} ms", what, note)
    if evaluation.deadline_ms is not None and latency:
        late = run.late(evaluation.deadline_ms)
        share = late / max(processed, 1)
        what = f"late ({evaluation.deadline_ms:g} ms deadline)"
        yield BigNumber(f"{100 * share:.1f} %", what, f"{late} frames", alert=share > 0.01)
    if run.densities.size:
        note = f"from {run.densities.min():.2f} to {run.densities.max():.2f}"
        yield BigNumber(f"{run.densities.mean():.2f}", "mean density", note)
    for task, name in HEADLINES:
        if task in run.scores.tasks:
            metric = next(m for m in METRICS if (m.task, m.name) == (task, name))
            yield BigNumber(
                metric.format(run.scores.tasks[task][name]), f"{task}: {metric.text}", run.name
            )


def drawn(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """(caption, SVG) of every chart there are numbers for."""
    run = evaluation.runs[0]
    budgeted = [r for r in evaluation.runs if r.budget is not None]
    if len(budgeted) > 1:
        if any(r.scores.tasks for r in budgeted):
            yield "Accuracy against budget", charts.accuracy_against_budget(budgeted)
        if any(r.latencies_ms.size for r in budgeted):
            yield "Time against budget", charts.time_against_budget(budgeted)
    if run.latencies_ms.size:
        of = f" ({run.name})" if len(evaluation.runs) > 1 else ""
        deadline = evaluation.deadline_ms
        yield f"Latency, distribution{of}", charts.latency_histogram(run.latencies_ms, deadline)
        if evaluation.source == BAG:
            yield f"Latency, over time{of}", charts.latency_over_time(run.records, deadline)
    if run.densities.size and evaluation.live:
        yield "Density, over time", charts.density_over_time(run.records)


def captions(evaluation: Evaluation) -> list[str]:
    """The columns of the sample pictures: every caption that any of them has."""
    rows = [row for sample in evaluation.samples for row in sample.rows.values()]
    return list(dict.fromkeys(caption for row in rows for caption in row))


def score_tasks(evaluation: Evaluation) -> dict[str, list[tuple[Metric, list[str]]]]:
    """Heading -> (metric, its value in every run): all frames' tasks first, then each camera's."""
    tables = _tables([run.scores.tasks for run in evaluation.runs])
    cameras = dict.fromkeys(name for run in evaluation.runs for name in run.scores.cameras)
    for camera in cameras:
        of_camera = _tables([run.scores.cameras.get(camera, {}) for run in evaluation.runs])
        tables.update({f"{task}, {camera} alone": rows for task, rows in of_camera.items()})
    return tables


def _tables(runs: Sequence[TaskTable]) -> dict[str, list[tuple[Metric, list[str]]]]:
    tables: dict[str, list[tuple[Metric, list[str]]]] = {}
    for metric in METRICS:
        values = [tasks.get(metric.task, {}).get(metric.name) for tasks in runs]
        if any(value is not None for value in values):
            row = (metric, [metric.format(value) for value in values])
            tables.setdefault(metric.task, []).append(row)
    return tables


def class_rows(evaluation: Evaluation) -> Iterator[tuple[LabelClass, list[str]]]:
    """(class, its IoU in every run) for each class that occurred."""
    for i, label_class in enumerate(evaluation.classes):
        values = [
            run.scores.class_iou[i] if run.scores.class_iou else None for run in evaluation.runs
        ]
        if any(value is not None for value in values):
            yield label_class, ["-" if v is None else f"{100 * v:.1f} %" for v in values]


def depth_scale(low_m: float, high_m: float) -> dict[str, str | list[str]]:
    """The depth pictures' colour scale as a CSS gradient, and five distances along it."""
    metres = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 24, dtype=np.float32)
    colors = color_depth(metres[None].astype(np.float32), low_m, high_m)[0]
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in colors.tolist())
    ticks = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 5)
    return {"gradient": f"linear-gradient(to right, {stops})", "ticks": [f"{t:.2g}" for t in ticks]}


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture [h,w,3] RGB as the text of an <img src>: JPEG, quality 85."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
