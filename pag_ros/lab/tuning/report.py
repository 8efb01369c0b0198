"""A tuning as one HTML file that needs nothing else: the verdict, before and after, pictures."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation import charts
from pag_ros.evaluation.html import fill, trusted
from pag_ros.evaluation.report import METRICS, data_uri, depth_scale
from pag_ros.evaluation.samples import color_outputs, small
from pag_ros.evaluation.scoring import Outputs
from pag_ros.image.pictures import color_error
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.tuning.comparing import AGREEMENT, Models, PairedScores
from pag_ros.lab.tuning.judging import FORGOTTEN, Judgement, MeasuredChange
from pag_ros.manifest import Manifest
from pag_ros.runtime import Session
from pag_ros.writing import write_text

HTML_NAME, JSON_NAME = "report.html", "report.json"
TEMPLATE = "lab/tuning/report.html.j2"
FORMAT = 1
MAX_ERROR = 0.5
"""|ln(depth / truth)| at which the colours of an error map end: 65 % too far."""


@dataclass(frozen=True)
class Findings:
    """All that a report shows.

    Attributes:
        held_out, rendered: both models on held-out frames and on rendered rooms.
        about: what was done with what, for people.
        curves: picture of the training's losses; left out where there is none.
    """

    title: str
    verdict: Judgement
    held_out: PairedScores
    rendered: PairedScores
    held_out_changes: Sequence[MeasuredChange]
    rendered_changes: Sequence[MeasuredChange]
    about: Mapping[str, str]
    curves: Path


@dataclass(frozen=True)
class ChangeRow:
    """A change as a line of a table; `mood` is "better", "worse" or empty."""

    budget: str
    frames: int
    before: str
    after: str
    interval: str
    mood: str


def write_report(
    findings: Findings, held_out: Dataset, before: Session, after: Session, folder: Path
) -> Path:
    """Write report.html and report.json, each whole or not at all.

    Args:
        held_out: the frames that were judged by; some are shown.
        before, after: the models.

    Returns:
        The path of the HTML file.
    """
    samples = _samples(findings.held_out, held_out, before, after)
    html = fill(
        TEMPLATE,
        {"picture": data_uri},
        findings=findings,
        tables=[
            ("Held-out frames", tables(findings.held_out_changes)),
            ("Rendered rooms", tables(findings.rendered_changes)),
        ],
        agreement=agreement(findings.held_out),
        charts=[(text, trusted(svg)) for text, svg in _charts(findings.held_out)],
        samples=samples,
        depth_scale=depth_scale(*before.manifest.depth_range_m),
        error_scale=_error_scale(),
        classes=before.manifest.classes,
        curves=_png_uri(findings.curves),
        forgotten=f"{100 * FORGOTTEN:g} %",
    )
    text = json.dumps(to_json(findings), indent=2, allow_nan=False)
    write_text(folder / JSON_NAME, text + "\n")
    write_text(folder / HTML_NAME, html)
    return folder / HTML_NAME


def to_json(findings: Findings) -> dict[str, Any]:
    """All numbers as plain JSON values; None where one is not finite."""
    return {
        "format": FORMAT,
        "title": findings.title,
        "is_better": findings.verdict.is_better,
        "reasons": list(findings.verdict.reasons),
        "held_out": [_finite(asdict(change)) for change in findings.held_out_changes],
        "rendered": [_finite(asdict(change)) for change in findings.rendered_changes],
        "agreement": agreement(findings.held_out),
        "about": dict(findings.about),
    }


def tables(changes: Sequence[MeasuredChange]) -> dict[str, list[ChangeRow]]:
    """Heading -> rows, one a budget."""
    found: dict[str, list[ChangeRow]] = {}
    for change in changes:
        metric = next(m for m in METRICS if (m.task, m.name) == (change.task, change.metric))
        arrow = "↑" if metric.higher_is_better else "↓"
        mood = "better" if change.is_better else "worse" if change.is_worse else ""
        row = ChangeRow(
            f"{change.budget:.2f}",
            change.frames,
            metric.format(change.before),
            metric.format(change.after),
            _interval(change, metric.scale, metric.digits),
            mood,
        )
        found.setdefault(f"{change.task}: {metric.text} {arrow}", []).append(row)
    return found


def agreement(comparison: PairedScores) -> dict[str, dict[str, float]]:
    """What is measured of heads without truth -> budget -> mean over the frames."""
    found: dict[str, dict[str, float]] = {}
    for budget, pairs in comparison.frames.items():
        for key, text in AGREEMENT.items():
            values = [pair.agreement[key] for pair in pairs if key in pair.agreement]
            if values:
                found.setdefault(text, {})[f"{budget:.2f}"] = round(float(np.mean(values)), 4)
    return found


def _interval(change: MeasuredChange, scale: float, digits: int) -> str:
    if not math.isfinite(change.low):
        return "too few frames"
    return f"{change.low * scale:+.{digits}f} to {change.high * scale:+.{digits}f}"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }


def _charts(comparison: PairedScores) -> list[tuple[str, str]]:
    """The main measure over the frames, before and after."""
    budget, pairs = next(iter(comparison.frames.items()))
    measured = comparison.measured()
    if not measured:
        return []
    task, metric = key = measured[0]
    before, after = ([getattr(p, side).get(key, math.nan) for p in pairs] for side in SIDES)
    caption = f"{task} {metric} of every held-out frame at budget {budget:g}, in order"
    return [(caption, charts.before_and_after(before, after))]


SIDES = ("before", "after")


def _samples(
    comparison: PairedScores, dataset: Dataset, before: Session, after: Session
) -> list[dict[str, Any]]:
    """The worst, the median and the best frame by the main measure after tuning."""
    budget, pairs = next(iter(comparison.frames.items()))
    measured = comparison.measured()
    if not measured:
        return []
    task, metric = key = measured[0]
    scored = sorted((p.after[key], i) for i, p in enumerate(pairs) if key in p.after)
    places = {"worst": 0, "median": len(scored) // 2, "best": len(scored) - 1}
    models = Models(before, after, budget)
    shown = []
    for name, place in places.items():
        value, index = scored[place]
        sample = dataset[index]
        title = f"{name}: frame {index}, {task} {metric} {pairs[index].before[key]:.3f} -> "
        rows = _rows(sample, models.run(sample), before.manifest)
        shown.append(
            {
                "title": f"{title}{value:.3f}",
                "image": small(sample.color, cv2.INTER_AREA),
                "rows": rows,
            }
        )
    return shown


def _rows(
    sample: Sample, outputs: tuple[Outputs, Outputs], manifest: Manifest
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Name -> caption -> picture: the truth, and both models' outputs with their error."""
    truth = Outputs(sample.depth, sample.normals, sample.labels)
    rows = {"ground truth": color_outputs(truth, manifest, small)}
    for name, each in zip(SIDES, outputs, strict=True):
        shown = Outputs(each.depth, each.normals, each.labels)
        rows[name] = color_outputs(shown, manifest, small)
        if each.depth is not None and sample.depth is not None:
            error = np.abs(np.log(each.depth / sample.depth))
            rows[name]["depth error"] = small(color_error(error, MAX_ERROR))
    return rows


def _error_scale() -> dict[str, Any]:
    """The error maps' colours as a CSS gradient, and how far off they mean."""
    errors = np.linspace(0.0, MAX_ERROR, 24, dtype=np.float32)[None]
    colors = color_error(errors, MAX_ERROR)[0].tolist()
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in colors)
    ticks = [f"{100 * math.expm1(e):.0f} %" for e in np.linspace(0.0, MAX_ERROR, 5)]
    return {"gradient": f"linear-gradient(to right, {stops})", "ticks": ticks}


def _png_uri(path: Path) -> str:
    if not path.is_file():
        return ""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
