"""An evaluation as one HTML file that needs nothing else: pictures, charts and tables within."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pag_ros.budget.outcomes import MEANINGS, PROCESSED, UNACCOUNTED
from pag_ros.evaluation import charts
from pag_ros.evaluation.html import fill, trusted
from pag_ros.evaluation.named_metrics import METRICS, Metric, metric_of
from pag_ros.evaluation.page_parts import BigNumber, data_uri, depth_scale
from pag_ros.evaluation.results import BAG, Evaluation, TaskTable, percentiles, save_json
from pag_ros.writing import write_text

HTML_NAME = "report.html"
JSON_NAME = "report.json"
TEMPLATE = "evaluation/report.html.j2"


HEADLINES = (
    ("depth", "delta1"),
    ("normals", "median"),
    ("segmentation", "mIoU"),
    ("boundary", "ODS"),
)


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
    charts.require_matplotlib()
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
            metric = metric_of(task, name)
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


def class_rows(evaluation: Evaluation) -> Iterator[tuple[Any, list[str]]]:
    """(class, its IoU in every run) for each class that occurred."""
    for i, label_class in enumerate(evaluation.classes):
        values = [
            run.scores.class_iou[i] if run.scores.class_iou else None for run in evaluation.runs
        ]
        if any(value is not None for value in values):
            yield label_class, ["-" if v is None else f"{100 * v:.1f} %" for v in values]
