"""Results of the GPU check in Markdown, for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]
"""Plain JSON values."""

_GOALS = {0.5: 1.3, 1.0: 0.7}
"""Density -> least speedup over cuDNN's dense block, on an H200."""


def report(result: Result) -> str:
    """What `gpu_check.run` gives, in Markdown."""
    parts = [", ".join(f"{name} {value}" for name, value in result["machine"].items())]
    if "correctness" in result:
        parts.append(_correctness_text(result["correctness"]))
    if "sanitizer" in result:
        parts.append("\n".join(_sanitizer_line(row) for row in result["sanitizer"]))
    if "speed" in result:
        parts.append(_speed_text(result["speed"]))
    if "torch" in result:
        parts.append(_torch_text(result["torch"]))
    if "tensorrt" in result:
        parts.append("\n".join(_tensorrt_line(row) for row in result["tensorrt"]))
    return "\n\n".join(parts)


def _correctness_text(rows: Sequence[Result]) -> str:
    wrong = [row for row in rows if not row["ok"]]
    worst = max((row["error"] for row in rows if row["case"].startswith("count")), default=0.0)
    lines = [
        f"Correctness: {len(rows) - len(wrong)} of {len(rows)} cases right; "
        f"largest relative error of a convolution {worst:.1e}."
    ]
    lines += [f"- WRONG: {row['kernel']}, {row['case']}: {row['error']:.3g}" for row in wrong]
    return "\n".join(lines)


def _sanitizer_line(row: Result) -> str:
    lines = [f"compute-sanitizer {row['tool']}: {row['outcome']}"]
    if row["text"]:
        lines.append(f"\n```\n{row['text'].strip()}\n```")
    return "\n".join(lines)


def _torch_text(rows: Sequence[Result]) -> str:
    """A line per model: both dense times, ours at each budget; then what was checked, or failed."""
    ran = [row for row in rows if row["outcome"] == "ran"]
    budgets = sorted({row["budget"] for row in ran})
    head = ["in torch", "dense ms", "dense, no MultiPool, ms", *(f"b={b:g}" for b in budgets)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] if ran else []
    for model in dict.fromkeys(row["model"] for row in ran):
        found = {row["budget"]: row for row in ran if row["model"] == model}
        some = found[budgets[-1]]
        cells = [model, f"{some['dense_ms']:.3f}", f"{some['dense_plain_ms']:.3f}"]
        cells += [f"{found[b]['ours_ms']:.3f} ms, {found[b]['speedup']:.2f}x" for b in budgets]
        lines.append("| " + " | ".join(cells) + " |")
    told = dict.fromkeys(f"- {r['model']}: {_outcome(r)}{r['text']}" for r in rows)
    return "\n".join([*lines, "", *told])


def _outcome(row: Result) -> str:
    return "" if row["outcome"] == "ran" else f"{row['outcome'].upper()}: "


def _tensorrt_line(row: Result) -> str:
    outcome = f"{row['frame_ms']:.2f} ms" if row["outcome"] == "ran" else row["outcome"].upper()
    budget = f" at budget {row['budget']:g}" if "budget" in row else ""
    return f"- TensorRT, {row['model']}{budget}: {outcome} ({row['text']})"


def _speed_text(rows: Sequence[Result]) -> str:
    """One line per block and batch; dense time, Select's time, and the speedup at each density."""
    densities = sorted({row["density"] for row in rows})
    head = ["basic block", "batch", "dense us", "select us", *(f"d={d:g}" for d in densities)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    blocks: dict[tuple[Any, ...], dict[float, Result]] = {}
    for row in rows:
        key = (row["channels"], row["height"], row["width"], row["batch"])
        blocks.setdefault(key, {})[row["density"]] = row
    for (channels, height, width, batch), found in blocks.items():
        some = next(iter(found.values()))
        cells = [f"{channels} @ {height}x{width}", str(batch)]
        cells += [f"{some['dense_us']:.1f}", f"{some['select_us']:.1f}"]
        cells += [f"{found[d]['speedup']:.2f}x" if d in found else "" for d in densities]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_goal_lines(rows)]).rstrip()


def _goal_lines(rows: Sequence[Result]) -> list[str]:
    """What was reached of `_GOALS`, as far as it was measured."""
    large = [row for row in rows if row["batch"] == 8 and row["channels"] >= 256]
    lines = []
    for density, goal in _GOALS.items():
        found = [row["speedup"] for row in large if row["density"] == density]
        if found:
            verdict = "reached" if min(found) >= goal else "NOT reached"
            lines.append(
                f"- goal for batch 8 and 256 channels or more at d={density:g}: {goal:g}x; "
                f"{min(found):.2f}x to {max(found):.2f}x, {verdict}"
            )
    return lines
