"""What the lines of a decision log must hold; a log may be damaged, or made by anybody."""

from __future__ import annotations

import math
from typing import Any

from pag_ros import checks
from pag_ros.budget.latency import MAX_KEEP

_MAX_STAGES = 1000
_MAX_SECONDS = 1e12
"""Of a time that is left: a clock that jumps may be off by all the years since 1970."""
_FACTOR = (1e-15, 1e15)


def check_head(entry: dict[str, Any]) -> None:
    """Check the first line: all that a controller is made of but its model.

    Raises:
        ValueError, KeyError: a value is missing or outside what it may be.
    """
    checks.name_of(entry["model"], "model")
    checks.name_of(entry["sha256"], "sha256")
    for size in checks.items(entry["input"], "input", 2, 2):
        checks.whole(size, "input", 1, MAX_KEEP)
    _check_settings(checks.entries(entry["settings"], "settings"))
    checks.entries(entry["table"], "table")


def check_event(entry: dict[str, Any]) -> None:
    """Check any other line.

    Raises:
        ValueError, KeyError: a value is missing or outside what it may be.
    """
    event = entry["event"]
    if event == "plan":
        _check_plan_event(entry)
    elif event == "observe":
        _check_keep(entry["keep_used"], "keep_used")
        _check_seconds(entry["stage_seconds"])
        checks.number(entry["slowdown"], "slowdown", *_FACTOR)
        checks.number(entry["margin"], "margin", -1.0, 1.0)
    elif event == "rescale":
        checks.number(entry["ratio"], "ratio", *_FACTOR)
    elif event == "settings":
        _check_settings(entry)
    else:
        raise ValueError(f"event {checks.shown(event)}")


def _check_plan_event(entry: dict[str, Any]) -> None:
    if entry["time_left_s"] is not None:
        checks.number(entry["time_left_s"], "time_left_s", -_MAX_SECONDS, _MAX_SECONDS)
    _check_flag(entry["may_skip"], "may_skip")
    if entry["plan"] is None:
        return
    plan = checks.entries(entry["plan"], "plan")
    checks.number(plan["budget"], "budget", 0.0, 1.0)
    _check_keep(plan["keep"], "keep")
    _check_seconds(plan["stage_seconds"])
    checks.number(plan["slowdown"], "slowdown", *_FACTOR)
    _check_flag(plan["timed"], "timed")
    if plan["thresholds"] is not None:
        _check_thresholds(plan["thresholds"])


def _check_settings(settings: Any) -> None:
    checks.name_of(settings["mode"], "mode")
    for name in ("budget", "budget_min"):
        checks.number(settings[name], name, 0.0, 1.0)


def _check_keep(value: Any, name: str) -> None:
    for pixels in checks.items(value, name, 0, _MAX_STAGES):
        checks.whole(pixels, name, 0, MAX_KEEP)


def _check_seconds(value: Any) -> None:
    for seconds in checks.items(value, "stage_seconds", 0, _MAX_STAGES):
        checks.number(seconds, "stage_seconds", -_MAX_SECONDS, _MAX_SECONDS)


def _check_thresholds(value: Any) -> None:
    for score in checks.items(value, "thresholds", 0, _MAX_STAGES):
        # An infinite one lets all pixels pass, or none.
        if not checks.is_number(score) and score not in (math.inf, -math.inf):
            raise ValueError(f"thresholds: expected numbers, not {checks.shown(score)}")


def _check_flag(value: Any, name: str) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, not {checks.shown(value)}")
