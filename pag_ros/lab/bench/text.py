"""Benchmark rows as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]


def operation_name(row: Row) -> str:
    """ "conv3x3 128 @ 30x40", height first."""
    kind = f"{row['block']} {row['gate_scope']}" if row["op"] == "block" else row["op"]
    return f"{kind} {row['channels']} @ {row['height']}x{row['width']}"


def operations_table(rows: Sequence[Row]) -> str:
    """Return a table with the dense times and the speed-ups of every operation and mask."""
    densities = sorted({row["density"] for row in rows})
    runtimes = list(rows[0]["dense_ms"])
    header = ["operation", "mask", *(f"{name} ms" for name in runtimes), "ours d=1 ms"]
    table = [[*header, *(f"d={density:g}" for density in densities), "break-even"]]
    for row in rows:
        if row["density"] != densities[-1]:
            continue
        same = [r for r in rows if _key(r) == _key(row)]
        by_density = {r["density"]: r for r in same}
        dense = [f"{row['dense_ms'][name]:.3f}" for name in runtimes]
        speedups = [_times(by_density[density]["speedup"]) for density in densities]
        line = [operation_name(row), row["mask"], *dense, f"{row['sparse_ms']:.3f}", *speedups]
        table.append([*line, _break_even(same)])
    return markdown(table)


def networks_table(rows: Sequence[Row]) -> str:
    """Return a table of the dense times, and one with a line for each network and density."""
    networks = {f"{row['model']} {row['size']}": row for row in rows}
    runs = list(dict.fromkeys(run for row in networks.values() for run in row["dense_ms"]))
    dense = [["network", "gated", *(f"{run} ms" for run in runs)]]
    for name, row in networks.items():
        times = [f"{row['dense_ms'][run]:.1f}" if run in row["dense_ms"] else "-" for run in runs]
        dense.append([name, f"{row['gated_share']:.0%}", *times])
    ours = [["network", "precision", "d", "ours ms", "of the same precision", "of any"]]
    for row in rows:
        line = [f"{row['model']} {row['size']}", row["precision"], f"{row['density']:g}"]
        line += [f"{row['ours_ms']:.1f}", _times(row["speedup"]), _times(row["speedup_any"])]
        ours.append(line)
    title = "How many times as fast as the best dense runtime:"
    return f"{markdown(dense)}\n\n{title}\n\n{markdown(ours)}"


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table in Markdown with aligned columns; the first row is the header."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    header, *body = (
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in table
    )
    return "\n".join([header, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body])


def _key(row: Row) -> tuple[str, str]:
    return operation_name(row), row["mask"]


def _times(speedup: float | None) -> str:
    return "-" if speedup is None else f"{speedup:.2f}x"


def _break_even(rows: Sequence[Row]) -> str:
    """The density at which sparse and the best dense runtime take the same time, interpolated."""
    points = sorted((r["density"], r["speedup"]) for r in rows if r["speedup"] is not None)
    if not points:
        return "-"
    if points[-1][1] >= 1.0:
        return ">= 1"
    for (d0, s0), (d1, s1) in pairwise(points):
        if s0 >= 1.0 > s1:
            return f"{d0 + (d1 - d0) * (s0 - 1.0) / (s0 - s1):.2f}"
    return "none"
