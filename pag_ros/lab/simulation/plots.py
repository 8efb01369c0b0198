"""Pictures of the simulated controllers: misses with intervals, density and latency over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pag_ros.evaluation.plot_file import save_plot
from pag_ros.lab.simulation import Played, Row
from pag_ros.lab.simulation.machine import PERIOD_S

_SHOWN_S = 60.0
"""Of the first trace of each kind."""

_COLORS = {
    "deadline": "tab:blue",
    "deadline_untrimmed": "tab:cyan",
    "fixed": "tab:gray",
    "pi": "tab:orange",
    "aimd": "tab:green",
    "kalman": "tab:red",
    "oracle": "black",
}
_OVER_TIME = ("oracle", "kalman", "deadline")
"""Ours last, so that nothing hides it."""


def plot_deadline(
    runs: Sequence[tuple[tuple[str, str], Sequence[Played]]], rows: Sequence[Row], path: Path
) -> None:
    """Draw all traces, one line each: misses, density over time, latency over time.

    Args:
        runs: ((trace, controller), its runs).
        rows: figures of the same runs.
        path: .png, .svg or .pdf.
    """
    traces = list(dict.fromkeys(trace for (trace, _), _ in runs))
    figure = Figure(figsize=(15, 2.6 * len(traces)), layout="constrained")
    axes = figure.subplots(len(traces), 3, squeeze=False, width_ratios=(1, 2, 2))
    for line, trace in zip(axes, traces, strict=True):
        _draw_misses(line[0], [row for row in rows if row.trace == trace])
        played = {controller: runs_of[0] for (kind, controller), runs_of in runs if kind == trace}
        for controller in _OVER_TIME:
            _draw_over_time(line[1], line[2], controller, played[controller])
        line[0].set_title(f"{trace}: missed, %", fontsize="medium")
        line[1].set_title("density, and the machine's slowdown - 1 (grey)", fontsize="medium")
        line[2].set_title("latency by deadline", fontsize="medium")
    axes[0, 1].legend(fontsize="small", loc="lower left")
    axes[-1, 1].set_xlabel("seconds")
    axes[-1, 2].set_xlabel("seconds")
    save_plot(figure, path, dpi=90)


def _draw_misses(axis: Axes, rows: Sequence[Row]) -> None:
    for position, row in enumerate(rows):
        axis.plot(
            [100 * row.miss_low, 100 * row.miss_high],
            [position] * 2,
            color=_COLORS[row.controller],
            linewidth=4,
        )
        axis.plot(100 * row.miss_rate, position, "k|", markersize=12)
    axis.set_xscale("symlog", linthresh=0.1)
    axis.set_xlim(0, 100)
    axis.set_yticks(range(len(rows)), [row.controller for row in rows], fontsize="small")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)


def _draw_over_time(density: Axes, latency: Axes, controller: str, played: Played) -> None:
    frames = min(len(played.density), round(_SHOWN_S / PERIOD_S))
    seconds = np.arange(frames) * PERIOD_S
    style: dict[str, Any] = {"color": _COLORS[controller], "linewidth": 0.8, "label": controller}
    if controller == "deadline":
        load = [played.trace.at(second) - 1.0 for second in seconds]
        density.fill_between(seconds, load, color="0.85")
        latency.axhline(1.0, color="0.5", linewidth=0.8)
    density.plot(seconds, played.density[:frames], **style)
    shown = np.array(played.latency_s[:frames]) / played.deadline_s
    latency.plot(seconds, np.where(np.isfinite(shown), shown, np.nan), **style)
    density.set_ylim(0, 1.05)
    latency.set_ylim(0.4, 1.6)
