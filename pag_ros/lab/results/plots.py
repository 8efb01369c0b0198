"""One plot a task: the score over multiply-adds, a curve for each method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pag_ros.evaluation.plot_file import save_plot
from pag_ros.lab.results.runs import FULL, OURS, TITLES

_MARKERS = "osv^<>DPXhd"


def plot_results(title: str, points: Sequence[tuple[str, float, float]], path: Path) -> None:
    """Write a PNG, whole or not at all; the same points always give the same bytes.

    Args:
        title: of the score, with its unit.
        points: (method, multiply-adds, score).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, (method, name) in enumerate(TITLES.items()):
        curve = sorted((macs / 1e6, score) for m, macs, score in points if m == method)
        if not curve:
            continue
        macs, scores = zip(*curve, strict=True)
        ours = method == OURS
        axes.plot(
            macs,
            scores,
            label=name,
            marker="*" if method == FULL else _MARKERS[number % len(_MARKERS)],
            markersize=11 if method == FULL else 5,
            color="black" if ours or method == FULL else f"C{number % 10}",
            linewidth=2.2 if ours else 1.0,
            zorder=3 if ours else 2,
        )
    axes.set_xlabel("multiply-adds of an image, millions", fontsize=9)
    axes.set_ylabel(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    # Without the version of matplotlib, which would change the bytes.
    save_plot(figure, path, dpi=110, metadata={"Software": None})
