"""The report's charts as inline SVG, in the page's own colours (light and dark alike)."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.evaluation.results import FrameRecord, Run

# Matplotlib wants colours, the page decides them: these stand-ins become CSS variables.
INK, FAINT, ACCENT, SECOND, ALERT = "#010101", "#020202", "#030303", "#040404", "#050505"
CSS_COLORS = {
    INK: "var(--ink)",
    FAINT: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    ALERT: "var(--alert)",
}

HIGHER_IS_BETTER = {
    ("depth", "delta1"): "depth: δ < 1.25",
    ("normals", "<22.5"): "normals: within 22.5°",
    ("segmentation", "mIoU"): "labels: mIoU",
    ("boundary", "ODS"): "boundary: ODS",
}


def require_matplotlib() -> None:
    """See that charts can be drawn.

    Raises:
        BackendError: Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise BackendError(f"the report needs {error.name}: pip install 'pag_ros[eval]'") from error


def latency_histogram(latencies_ms: NDArray[np.float64], deadline_ms: float | None) -> str:
    """How the latencies are distributed, and where the deadline lies."""
    figure, axes = _figure()
    high = max(float(latencies_ms.max()), deadline_ms or 0.0) * 1.08
    axes.hist(latencies_ms, bins=np.linspace(0.0, high, 41), color=ACCENT)
    _deadline(axes.axvline, axes, deadline_ms)
    axes.set(xlim=(0.0, high), xlabel="latency, ms", ylabel="frames")
    return _svg(figure, "histogram")


def latency_over_time(records: Sequence[FrameRecord], deadline_ms: float | None) -> str:
    """The latency of every frame; frames without an answer are marked on the time axis."""
    figure, axes = _figure()
    answered = [(r.time_s, r.latency_ms) for r in records if r.latency_ms is not None]
    times, latencies = zip(*answered, strict=True)
    axes.plot(times, latencies, color=ACCENT, linewidth=1.0, marker="o", markersize=2.5)
    lost = [r.time_s for r in records if r.latency_ms is None]
    if lost:
        axes.plot(lost, np.zeros(len(lost)), "x", color=ALERT, markersize=5, clip_on=False)
    _deadline(axes.axhline, axes, deadline_ms)
    axes.set(ylim=(0.0, max(*latencies, deadline_ms or 0.0) * 1.12))
    axes.set(xlabel="time, s", ylabel="latency, ms")
    return _svg(figure, "latency")


def density_over_time(records: Sequence[FrameRecord]) -> str:
    """The share of gated pixels that was computed in every frame."""
    figure, axes = _figure()
    known = [(r.time_s, r.density) for r in records if r.density is not None]
    times, densities = zip(*known, strict=True)
    axes.fill_between(times, densities, color=SECOND, alpha=0.25, linewidth=0)
    axes.plot(times, densities, color=SECOND, linewidth=1.2)
    axes.set(ylim=(0.0, 1.05), xlabel="time, s", ylabel="density")
    return _svg(figure, "density")


def accuracy_against_budget(runs: Sequence[Run]) -> str:
    """One curve a task: its main score at each budget."""
    figure, axes = _figure()
    styles = ((ACCENT, "o"), (SECOND, "s"), (ALERT, "^"), (INK, "D"))
    for ((task, metric), text), (color, marker) in zip(
        HIGHER_IS_BETTER.items(), styles, strict=True
    ):
        points = [
            (run.budget, run.scores.tasks[task][metric]) for run in runs if task in run.scores.tasks
        ]
        if points:
            budgets, values = zip(*sorted(points), strict=True)
            axes.plot(budgets, values, color=color, marker=marker, markersize=4, label=text)
    axes.set(xlim=(0.0, 1.05), ylim=(0.0, 1.0), xlabel="budget", ylabel="score")
    _legend(axes)
    return _svg(figure, "accuracy")


def time_against_budget(runs: Sequence[Run]) -> str:
    """Median and 95th percentile of the processing time at each budget."""
    figure, axes = _figure()
    timed = sorted((run.budget, run.latencies_ms) for run in runs if run.latencies_ms.size)
    budgets = [budget for budget, _ in timed]
    medians = [float(np.median(times)) for _, times in timed]
    tails = [float(np.percentile(times, 95)) for _, times in timed]
    axes.fill_between(budgets, medians, tails, color=ACCENT, alpha=0.2, linewidth=0)
    axes.plot(budgets, medians, color=ACCENT, marker="o", markersize=4)
    axes.set(xlim=(0.0, 1.05), ylim=(0.0, max(tails) * 1.1), xlabel="budget")
    axes.set(ylabel="ms a frame (median, 95 %)")
    return _svg(figure, "time")


def before_and_after(
    times: Sequence[float],
    before: Sequence[float],
    after: Sequence[float],
    x_label: str,
    y_label: str,
) -> str:
    """A score of every frame by two models, over time; as wide as the page."""
    figure, axes = _figure(width_in=11.2)
    axes.plot(
        times, before, color=SECOND, linewidth=1.0, marker="s", markersize=2.5, label="before"
    )
    axes.plot(times, after, color=ACCENT, linewidth=1.0, marker="o", markersize=2.5, label="after")
    axes.set(ylim=(0.0, None), xlabel=x_label, ylabel=y_label)
    _legend(axes)
    return _svg(figure, "before_and_after")


def _figure(width_in: float = 5.6) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, 2.5), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, color=FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9)
    return figure, axes


def _legend(axes: Any) -> None:
    """Above the axes, where no curve runs through it."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncol=3,
        frameon=False,
        labelcolor=INK,
        fontsize=8,
    )


def _deadline(line: Any, axes: Any, deadline_ms: float | None) -> None:
    if deadline_ms is None:
        return
    line(deadline_ms, color=ALERT, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.set_title(f"deadline {deadline_ms:g} ms", color=ALERT, fontsize=8, loc="right")


def _svg(figure: Any, name: str) -> str:
    """The figure as an <svg> element; `name` keeps its ids apart from other charts' on the page."""
    import matplotlib as mpl

    text = StringIO()
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}
    ):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, css in CSS_COLORS.items():
        svg = svg.replace(stand_in, css)
    return svg
