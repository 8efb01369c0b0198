"""The log of a training run as a picture: losses and scores over the iterations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pag_ros.checks import shown, whole
from pag_ros.errors import DatasetError
from pag_ros.evaluation.plot_file import save_plot
from pag_ros.reading import reading

Curve = list[tuple[int, float]]
_COLUMNS = 3
_MAX_ITERATION = 1 << 40
_LEFT_OUT = ("seconds", "progress")


def write_curves(log: Path, path: Path) -> None:
    """Draw one panel a quantity, a line for the training and one for each validation.

    Args:
        log: log.jsonl of a training run.
        path: of the picture (.png or .svg); written whole or not at all.

    Raises:
        DatasetError: the log cannot be read or has no rows yet.
    """
    from matplotlib.figure import Figure

    panels = read_curves(log)
    lines = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3.4 * _COLUMNS, 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, _COLUMNS, squeeze=False).ravel()
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for label, curve in curves.items():
            iterations, values = zip(*curve, strict=True)
            style = "-" if label == "training" else ".-"
            axis.plot(iterations, values, style, label=label, linewidth=1.0)
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=6, frameon=False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("iteration", fontsize=8)
    save_plot(figure, path, dpi=110)


def read_curves(log: Path) -> dict[str, dict[str, Curve]]:
    """Quantity -> "training" or "validation NAME" -> (iteration, value) in the log's order.

    Raises:
        DatasetError: the log cannot be read or has no rows yet.
    """
    panels: dict[str, dict[str, Curve]] = {}
    with reading(log, "the log of a training run", DatasetError):
        for line in log.read_text(encoding="utf-8").splitlines():
            _add_row(panels, json.loads(line))
    if not panels:
        raise DatasetError(f"{log}: no rows yet")
    return panels


def _add_row(panels: dict[str, dict[str, Curve]], row: dict[str, Any]) -> None:
    iteration = whole(row["iteration"], "iteration", 0, _MAX_ITERATION)
    for label, values in _labelled(row).items():
        for name, value in values.items():
            # A loss may have become NaN: the curve then shows a gap.
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: expected a number, not {shown(value)}")
            if name not in _LEFT_OUT:
                panels.setdefault(name, {}).setdefault(label, []).append((iteration, float(value)))


def _labelled(row: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    labelled = {f"validation {name}": values for name, values in row.get("validation", {}).items()}
    return {"training": row["train"], **labelled} if "train" in row else labelled
