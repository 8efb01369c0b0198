"""Benchmark rows as a picture: speed-up over density."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pag_ros.evaluation.plot_file import save_plot
from pag_ros.lab.bench.text import Row, operation_name

_COLUMNS = 3


def plot_operations(rows: Sequence[Row], path: Path) -> None:
    """Draw a panel for each operation: our speed-up by density and mask, beside 1 / density."""
    panels: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        panels.setdefault(operation_name(row), {}).setdefault(row["mask"], []).append(row)
    _plot(panels, path, ideal=True)


def plot_networks(rows: Sequence[Row], path: Path) -> None:
    """Draw a panel for each network."""
    panels: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        curves = panels.setdefault(f"{row['model']} {row['size']}", {})
        curves.setdefault(row["precision"], []).append(row)
    _plot(panels, path, ideal=False)


def _plot(panels: dict[str, dict[str, list[Row]]], path: Path, ideal: bool) -> None:
    from matplotlib.figure import Figure

    lines = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 2.2 * lines), layout="constrained")
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for label, rows in curves.items():
            shown = [row for row in rows if row["density"] > 0 or not ideal]
            densities = [row["density"] for row in shown]
            axis.plot(densities, [row["speedup"] for row in shown], marker=".", label=label)
            if ideal:
                axis.plot(densities, [1 / d for d in densities], color="0.75", linestyle="--")
        axis.axhline(1.0, color="0.6", linewidth=0.8)
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
        if ideal:
            axis.set_yscale("log")
            axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axis.legend(fontsize=7, frameon=False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("density: share of the pixels that are computed", fontsize=8)
    figure.supylabel("times as fast as the best dense runtime (of the same precision)", fontsize=8)
    save_plot(figure, path, dpi=110)
