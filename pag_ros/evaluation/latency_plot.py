"""A picture of a latency table: every stage over its pixels, and the frame over its budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pag_ros.budget import LatencyTable
from pag_ros.evaluation.plot_file import save_plot
from pag_ros.manifest import Manifest


def plot_table(table: LatencyTable, manifest: Manifest, title: str, path: Path) -> None:
    """Draw a table.

    Args:
        manifest: of the model that it belongs to.
        path: .png, .svg or .pdf.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    blocks, frame = figure.subplots(1, 2)
    first, *gated, last = table.stages
    for stage in gated:
        blocks.plot(stage.keep, 1e3 * np.array(stage.seconds), ".-", label=stage.name)
    blocks.set(title="gated blocks", xlabel="pixels computed", ylabel="ms", ylim=(0, None))
    blocks.legend(fontsize="small")

    budgets = np.linspace(0.0, 1.0, 41)
    stages = np.array([table.stage_seconds(manifest.keep_for(float(b))) for b in budgets]).T * 1e3
    parts = [stages[0], stages[1:-1].sum(axis=0), stages[-1]]
    names = [first.name, "gated blocks", last.name]
    frame.stackplot(budgets, *parts, labels=names, alpha=0.8)
    frame.set(title="the whole network", xlabel="budget", ylabel="ms", xlim=(0, 1))
    frame.legend(loc="upper left", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    save_plot(figure, path, dpi=90)
