"""Pictures of the node under load: density and latency over time, the load behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pag_ros.evaluation.load_injector import PATTERNS
from pag_ros.evaluation.results import FrameRecord


def plot_load(
    frames: Mapping[tuple[str, float, str], Sequence[FrameRecord]], fps: float, path: Path
) -> None:
    """Draw every mode under every pattern; blocks of several rounds lie over one another.

    Args:
        frames: (mode, budget, pattern) -> frames.
        fps: frames a second, whose inverse is the deadline.
        path: .png, .svg or .pdf.
    """
    figure = Figure(figsize=(14, 2.4 * len(frames)), layout="constrained")
    axes = figure.subplots(len(frames), 3, squeeze=False, width_ratios=(2, 2, 1))
    for (density, latency, spread), ((mode, budget, pattern), records) in zip(
        axes, frames.items(), strict=True
    ):
        time_s = np.array([record.time_s for record in records])
        shares = [np.nan if r.density is None else r.density for r in records]
        late = np.array([np.nan if r.latency_ms is None else r.latency_ms for r in records])
        late *= fps / 1e3
        if pattern in PATTERNS and len(time_s):
            grid = np.linspace(0.0, time_s.max(), 1000)
            load = [PATTERNS[pattern](float(second)) for second in grid]
            density.fill_between(grid, load, color="0.85", step="mid")
        density.plot(time_s, shares, ".", markersize=2)
        density.set_ylim(0, 1.05)
        density.set_title(f"{mode} {budget:g}, {pattern}: density (load grey)", fontsize="medium")
        latency.plot(time_s, late, ".", markersize=2)
        latency.axhline(1.0, color="tab:red", linewidth=0.8)
        latency.set_title("latency by deadline, dropped frames left out", fontsize="medium")
        spread.hist(late[np.isfinite(late)], bins=60)
        spread.axvline(1.0, color="tab:red", linewidth=0.8)
        spread.set_title("its distribution", fontsize="medium")
    figure.savefig(path, dpi=80)
