"""What tuning did as one HTML file that needs nothing else, and its numbers as JSON beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pag_ros.evaluation import charts
from pag_ros.evaluation.html import fill, trusted
from pag_ros.evaluation.named_metrics import Metric
from pag_ros.evaluation.page_parts import BigNumber, data_uri, depth_scale, embedded, error_scale
from pag_ros.evaluation.results import FramePictures
from pag_ros.lab.tuning.changes import WORSE, Agreement, ScoreChange
from pag_ros.lab.tuning.frame_pictures import CAPTIONS, LARGEST_RATIO
from pag_ros.lab.tuning.judging import FORGOTTEN, Judgement, share_text
from pag_ros.lab.tuning.paired_scores import MAIN_METRICS, FrameScores
from pag_ros.lab.tuning.precisions import PrecisionLoss
from pag_ros.manifest import LabelClass
from pag_ros.writing import write_text

FORMAT = 1
HTML_NAME = "report.html"
JSON_NAME = "report.json"
TEMPLATE = "lab/tuning/report.html.j2"


@dataclass(frozen=True)
class ReportWords:
    """What the report calls what it compares."""

    models: str = "The model before tuning and after"
    subject: str = "The tuned model"
    about: str = "What was tuned, and on what"


@dataclass(frozen=True)
class TuningResult:
    """Everything the report shows.

    Attributes:
        title: one line.
        about: what the data and the models were, for people.
        held_out: every held-out frame's scores.
        changes, agreements: of the held-out frames.
        rooms: changes on rendered rooms; empty if not measured, None if nothing can have been
            forgotten.
        classes, depth_range_m: of the pictures' colours.
        pictures: of single held-out frames; see `picture_frames`.
        times_s: of every held-out frame, for the chart; empty numbers them.
        curves: picture of the training's curves, .png, .jpg or .svg.
        losses: what precisions faster than float32 lose.
        words: what the models are called.
    """

    title: str
    about: Mapping[str, str]
    judgement: Judgement
    held_out: Sequence[FrameScores]
    changes: Sequence[ScoreChange]
    agreements: Sequence[Agreement]
    rooms: Sequence[ScoreChange] | None
    classes: tuple[LabelClass, ...]
    depth_range_m: tuple[float, float]
    pictures: Sequence[FramePictures] = ()
    times_s: Sequence[float] = ()
    curves: Path | None = None
    losses: Sequence[PrecisionLoss] = ()
    words: ReportWords = ReportWords()


def write_report(result: TuningResult, folder: Path) -> Path:
    """Write report.html and report.json into a folder, each whole or not at all.

    Returns:
        The path of the HTML file.

    Raises:
        BackendError: the libraries of the `eval` extra are not installed.
        ParameterError: the picture of the training's curves cannot be read.
        OSError: the folder cannot be written.
    """
    html = render(result)
    numbers = json.dumps(to_json(result), indent=2, allow_nan=False) + "\n"
    write_text(folder / JSON_NAME, numbers, make_folder=True)
    write_text(folder / HTML_NAME, html, make_folder=True)
    return folder / HTML_NAME


def to_json(result: TuningResult) -> dict[str, Any]:
    """All numbers, without the pictures, as plain JSON values; what is not finite is None."""
    judgement = result.judgement
    return {
        "format": FORMAT,
        "title": result.title,
        "about": dict(result.about),
        "better": judgement.better,
        "main": None if judgement.main is None else judgement.main.key,
        "reasons": list(judgement.reasons),
        "held_out": [_change_json(change) for change in result.changes],
        "agreement": [
            {
                "metric": a.metric.key,
                "budget": a.budget,
                "mean": _finite(a.mean),
                "frames": a.frames,
            }
            for a in result.agreements
        ],
        "rooms": [_change_json(change) for change in result.rooms or ()],
        "forgotten": [
            {"metric": change.metric.key, "budget": change.budget} for change in judgement.forgotten
        ],
        "precisions": [asdict(loss) for loss in result.losses],
        "frames": [_frame_json(frame, result.times_s) for frame in result.held_out],
    }


def render(result: TuningResult) -> str:
    """The report as HTML text.

    Raises:
        BackendError: the libraries of the `eval` extra are not installed.
        ParameterError: the picture of the training's curves cannot be read.
    """
    charts.require_matplotlib()
    return fill(
        TEMPLATE,
        {"picture": data_uri},
        result=result,
        tiles=list(tiles(result)),
        charts=[(text, trusted(svg)) for text, svg in drawn(result)],
        change_tables=tables(result.changes),
        room_tables=tables(result.rooms or ()),
        agreement_rows=[_agreement_row(agreement) for agreement in result.agreements],
        curves=None if result.curves is None else embedded(result.curves),
        captions=captions(result),
        depth_scale=depth_scale(*result.depth_range_m),
        error_scale=error_scale(LARGEST_RATIO),
        forgotten_percent=f"{100 * FORGOTTEN:g} %",
    )


@dataclass(frozen=True)
class ChangeRow:
    """A change as the texts of a table's row."""

    metric: Metric
    budget: str
    before: str
    after: str
    difference: str
    interval: str
    loss: str
    frames: int
    outcome: str
    is_worse: bool
    is_forgotten: bool


def tables(changes: Sequence[ScoreChange]) -> dict[str, list[ChangeRow]]:
    """Task -> its rows, in the changes' order."""
    by_task: dict[str, list[ChangeRow]] = {}
    for change in changes:
        by_task.setdefault(change.metric.task, []).append(_row(change))
    return by_task


def tiles(result: TuningResult) -> Iterator[BigNumber]:
    """The row of big numbers: each head's main metric at the first budget."""
    heads = [change for change in result.changes if change.metric in MAIN_METRICS.values()]
    for change in _at_first_budget(heads):
        metric = change.metric
        yield BigNumber(
            f"{metric.format(change.before)} → {metric.format(change.after)}",
            f"{metric.task}: {metric.text}, budget {change.budget:.2f}",
            f"{change.outcome}, {change.frames} held-out frames",
            alert=change.outcome == WORSE,
        )
    rooms = [c for c in result.rooms or () if c.metric == result.judgement.main]
    for change in _at_first_budget(rooms):
        metric = change.metric
        yield BigNumber(
            f"{metric.format(change.before)} → {metric.format(change.after)}",
            f"rendered rooms, {metric.task}: {metric.text}, budget {change.budget:.2f}",
            f"loss {share_text(change)}, {change.frames} frames",
            alert=change in result.judgement.forgotten,
        )


def drawn(result: TuningResult) -> Iterator[tuple[str, str]]:
    """(caption, SVG) of the main metric over the held-out frames at the first budget."""
    main = result.judgement.main
    if main is None:
        return
    budget = result.held_out[0].budget
    frames = [f for f in result.held_out if f.budget == budget and main in f.before]
    times = [result.times_s[f.index] if result.times_s else float(f.index) for f in frames]
    before = [main.scale * frame.before[main] for frame in frames]
    after = [main.scale * frame.after[main] for frame in frames]
    caption = f"{main.task}: {main.text} of every held-out frame, budget {budget:.2f}"
    x_label = "time, s" if result.times_s else "held-out frame"
    y_label = f"{main.text}{f',{main.unit}' if main.unit else ''}"
    yield caption, charts.before_and_after(times, before, after, x_label, y_label)


def captions(result: TuningResult) -> list[str]:
    """The columns of the pictures: of `CAPTIONS` those that any of them has."""
    known = {caption for p in result.pictures for row in p.rows.values() for caption in row}
    return [caption for caption in CAPTIONS if caption in known]


def _at_first_budget(changes: Sequence[ScoreChange]) -> list[ScoreChange]:
    return [change for change in changes if change.budget == changes[0].budget]


def _row(change: ScoreChange) -> ChangeRow:
    metric = change.metric
    return ChangeRow(
        metric=metric,
        budget=f"{change.budget:.2f}",
        before=metric.format(change.before),
        after=metric.format(change.after),
        difference=metric.format_difference(change.after - change.before),
        interval=_interval(change),
        loss=share_text(change),
        frames=change.frames,
        outcome=change.outcome,
        is_worse=change.outcome == WORSE,
        is_forgotten=change.relative_loss > FORGOTTEN,
    )


def _interval(change: ScoreChange) -> str:
    if math.isinf(change.low):
        return "too few frames"
    return change.metric.format_interval(change.low, change.high)


def _agreement_row(agreement: Agreement) -> tuple[str, str, str, int]:
    metric = agreement.metric
    head = f"{metric.task}: {metric.text}"
    return head, f"{agreement.budget:.2f}", metric.format(agreement.mean), agreement.frames


def _change_json(change: ScoreChange) -> dict[str, Any]:
    return {
        "metric": change.metric.key,
        "budget": change.budget,
        "before": _finite(change.before),
        "after": _finite(change.after),
        "low": _finite(change.low),
        "high": _finite(change.high),
        "relative_loss": _finite(change.relative_loss),
        "frames": change.frames,
        "outcome": change.outcome,
    }


def _frame_json(frame: FrameScores, times_s: Sequence[float]) -> dict[str, Any]:
    sides = {"before": frame.before, "after": frame.after, "agreement": frame.agreement}
    values = {
        name: {metric.key: _finite(value) for metric, value in side.items()}
        for name, side in sides.items()
    }
    time_s = _finite(times_s[frame.index]) if times_s else None
    return {"index": frame.index, "time_s": time_s, "budget": frame.budget, **values}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
