"""The node under load for people: density and latency over time, and a report with the figures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pag_ros.evaluation.html import fill, trusted
from pag_ros.evaluation.plot_file import save_plot
from pag_ros.replay.live_log import PARTS
from pag_ros.replay.load_figures import Blocks, LoadRow, Setting
from pag_ros.replay.load_injector import PATTERNS
from pag_ros.writing import write_text

_TEMPLATE = "replay/load.html.j2"


def plot_load(runs: Mapping[Setting, Blocks], deadline_ms: float, path: Path) -> None:
    """Draw every setting; its blocks lie over one another.

    Args:
        path: .png, .svg or .pdf.
    """
    save_plot(_figure(runs, deadline_ms), path, dpi=80)


def write_load_report(
    runs: Mapping[Setting, Blocks],
    rows: Sequence[LoadRow],
    about: Mapping[str, str],
    deadline_ms: float,
    path: Path,
) -> None:
    """Write one HTML file with the figures and the pictures in it.

    Args:
        about: what was run, for people.
    """
    picture = io.StringIO()
    _figure(runs, deadline_ms).savefig(picture, format="svg", dpi=120)
    svg = picture.getvalue()
    html = fill(
        _TEMPLATE,
        {"percent": _percent, "number": _number},
        rows=rows,
        about=about,
        parts=PARTS,
        deadline_ms=deadline_ms,
        picture=trusted(svg[svg.index("<svg") :]),
    )
    write_text(path, html, make_folder=True)


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _figure(runs: Mapping[Setting, Blocks], deadline_ms: float) -> Figure:
    figure = Figure(figsize=(14, 2.4 * len(runs)), layout="constrained")
    axes = figure.subplots(len(runs), 3, squeeze=False, width_ratios=(2, 2, 1))
    for (density, latency, spread), (setting, blocks) in zip(axes, runs.items(), strict=True):
        records = blocks.frames
        time_s = np.array([record.time_s for record in records])
        shares = [np.nan if r.density is None else r.density for r in records]
        late = np.array([np.nan if r.latency_ms is None else r.latency_ms for r in records])
        late /= deadline_ms
        if setting.pattern in PATTERNS and len(time_s):
            grid = np.linspace(0.0, time_s.max(), 1000)
            load = [PATTERNS[setting.pattern](float(second)) for second in grid]
            density.fill_between(grid, load, color="0.85", step="mid")
        # Thousands of points would make the report large; as a picture they do not.
        density.plot(time_s, shares, ".", markersize=2, rasterized=True)
        density.set_ylim(0, 1.05)
        density.set_title(f"{setting}, {setting.pattern}: density (load grey)", fontsize="medium")
        latency.plot(time_s, late, ".", markersize=2, rasterized=True)
        latency.axhline(1.0, color="tab:red", linewidth=0.8)
        latency.set_title("latency by deadline, dropped frames left out", fontsize="medium")
        spread.hist(late[np.isfinite(late)], bins=60)
        spread.axvline(1.0, color="tab:red", linewidth=0.8)
        spread.set_title("its distribution", fontsize="medium")
    return figure
