"""Results of the GPU check in Markdown, for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""Plain JSON values; "part" says where it comes from, and "outcome" what has become of a case that
did not simply give numbers: "failed", "errors", "stopped", "skipped", "absent", "clean", "ran"."""

_GOALS = {0.5: 1.3, 1.0: 0.7}
"""Density -> least speedup over cuDNN's dense block, on an H200."""
_WRONG = ("failed", "errors")
_NAMES = 4
"""Cases that fail alike which are named; the others are counted."""


def is_right(rows: Sequence[Row]) -> bool:
    """Whether no kernel or network differs from its definition, and nothing failed."""
    return all(row.get("ok", True) and row.get("outcome") not in _WRONG for row in rows)


def report(rows: Sequence[Row]) -> str:
    """All rows in Markdown: numbers, and what has become of the rest."""
    by_part: dict[str, list[Row]] = {}
    for row in rows:
        by_part.setdefault(row["part"], []).append(row)
    return "\n\n".join(filter(None, (_part_text(part, found) for part, found in by_part.items())))


def _part_text(part: str, rows: Sequence[Row]) -> str:
    numbers = [row for row in rows if row.get("outcome") in (None, "ran")]
    others = [row for row in rows if row.get("outcome") not in (None, "ran")]
    texts = {
        "machine": _machine_text,
        "build": _build_text,
        "small": _correctness_text,
        "stored": _correctness_text,
        "correctness": _correctness_text,
        "torch": _torch_text,
        "transformer": _transformer_text,
        "speed": _speed_text,
        "tensorrt": _tensorrt_text,
        "profile": _profile_text,
    }
    lines = [texts[part](part, numbers)] if numbers else []
    return "\n".join([*lines, *_outcome_lines(part, others)])


def name_of(row: Row) -> str:
    """What a row is about within its part; empty where that is all of it."""
    return str(row.get("tool") or row.get("model") or row.get("case") or "")


def _outcome_lines(part: str, rows: Sequence[Row]) -> list[str]:
    """A line for each outcome and reason: a kernel that cannot be had makes many cases fail."""
    alike: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        alike.setdefault((row["outcome"], row["text"].strip()), []).append(name_of(row))
    lines = []
    for (outcome, text), names in alike.items():
        named = list(filter(None, names[:_NAMES]))
        if len(names) > _NAMES:
            named.append(f"and {len(names) - _NAMES} more")
        what = f"{part}, {'; '.join(named)}" if named else part
        word = outcome.upper() if outcome in _WRONG else outcome
        lines.append(f"- {what}: {word}" + (f": {text}" if text else ""))
    return lines


def _machine_text(part: str, rows: Sequence[Row]) -> str:
    """The GPU first. What is told twice counts as it was told last."""
    facts = {name: value for row in rows for name, value in row["facts"].items()}
    in_order = sorted(facts.items(), key=lambda fact: fact[0] != "GPU")
    return ", ".join(f"{name} {value}" for name, value in in_order)


def _build_text(part: str, rows: Sequence[Row]) -> str:
    return "\n".join(f"{r['kernels']} kernels compiled in {r['seconds']:.0f} s." for r in rows)


def _correctness_text(part: str, rows: Sequence[Row]) -> str:
    wrong = [row for row in rows if not row["ok"]]
    worst = max((row["error"] for row in rows if row["case"].startswith("count")), default=0.0)
    kinds = {
        "small": "small kernels",
        "stored": "the stored code of the shipped models",
        "correctness": "larger kernels",
    }
    lines = [
        f"Correctness of {kinds[part]}: {len(rows) - len(wrong)} of {len(rows)} cases right; "
        f"largest relative error of a convolution {worst:.1e}."
    ]
    lines += [f"- WRONG: {row['kernel']}, {row['case']}: {row['error']:.3g}" for row in wrong]
    return "\n".join(lines)


def _profile_text(part: str, rows: Sequence[Row]) -> str:
    """A line for every kernel that was profiled."""
    lines = []
    for row in rows:
        metrics = ", ".join(f"{name} {value}" for name, value in row["metrics"].items())
        lines.append(f"- {row['kernel']}: {metrics}")
    return "\n".join(lines)


def _torch_text(part: str, ran: Sequence[Row]) -> str:
    """A line per model: both dense times, ours at each budget; then what was checked."""
    budgets = sorted({row["budget"] for row in ran})
    head = ["in torch", "dense ms", "dense, no MultiPool, ms", *(f"b={b:g}" for b in budgets)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for model in dict.fromkeys(row["model"] for row in ran):
        found = {row["budget"]: row for row in ran if row["model"] == model}
        some = found[max(found)]
        cells = [model, f"{some['dense_ms']:.3f}", f"{some['dense_plain_ms']:.3f}"]
        cells += [_ours_in_torch(found.get(b)) for b in budgets]
        lines.append("| " + " | ".join(cells) + " |")
    told = dict.fromkeys(f"- {row['model']}: {row['text']}" for row in ran)
    return "\n".join([*lines, "", *told])


def _ours_in_torch(row: Row | None) -> str:
    return "" if row is None else f"{row['ours_ms']:.3f} ms, {row['speedup']:.2f}x"


def _transformer_text(part: str, rows: Sequence[Row]) -> str:
    """A line per network: the dense time, ours at each budget."""
    budgets = sorted({row["budget"] for row in rows})
    head = ["Depth Anything V2 in torch", "dense ms", *(f"b={b:g}" for b in budgets)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for model in dict.fromkeys(row["model"] for row in rows):
        found = {row["budget"]: row for row in rows if row["model"] == model}
        dense_ms = next(iter(found.values()))["dense_ms"]
        cells = [model, f"{dense_ms:.3f}", *(_ours_in_torch(found.get(b)) for b in budgets)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _tensorrt_text(part: str, rows: Sequence[Row]) -> str:
    return "\n".join(
        f"- TensorRT, {row['model']} at budget {row['budget']:g}: {row['frame_ms']:.2f} ms "
        f"({row['text']})"
        for row in rows
    )


def _speed_text(part: str, rows: Sequence[Row]) -> str:
    """One line per block and batch; dense time, Select's time, and the speedup at each density."""
    densities = sorted({row["density"] for row in rows})
    head = ["basic block", "batch", "dense us", "select us", *(f"d={d:g}" for d in densities)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    blocks: dict[tuple[Any, ...], dict[float, Row]] = {}
    for row in rows:
        key = (row["channels"], row["height"], row["width"], row["batch"])
        blocks.setdefault(key, {})[row["density"]] = row
    for (channels, height, width, batch), found in blocks.items():
        some = min(found.values(), key=lambda row: "select_us" not in row)
        cells = [f"{channels} @ {height}x{width}", str(batch), f"{some['dense_us']:.1f}"]
        cells.append(f"{some['select_us']:.1f}" if "select_us" in some else "")
        cells += [_speedup(found.get(d, {})) for d in densities]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_goal_lines(rows)]).rstrip()


def _speedup(row: Row) -> str:
    """Empty where ours could not be measured."""
    return f"{row['speedup']:.2f}x" if "speedup" in row else ""


def _goal_lines(rows: Sequence[Row]) -> list[str]:
    """Which of `_GOALS` were reached, as far as they were measured."""
    large = [row for row in rows if row["batch"] == 8 and row["channels"] >= 256]
    lines = []
    for density, goal in _GOALS.items():
        about = [row for row in large if row["density"] == density]
        found = [row["speedup"] for row in about if "speedup" in row]
        if found:
            verdict = "reached" if min(found) >= goal else "NOT reached"
            if len(found) < len(about):
                verdict += f", {len(about) - len(found)} of {len(about)} blocks not measured"
            lines.append(
                f"- goal for batch 8 and 256 channels or more at d={density:g}: {goal:g}x; "
                f"{min(found):.2f}x to {max(found):.2f}x, {verdict}"
            )
    return lines
