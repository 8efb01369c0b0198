"""The course of a controller, read from its decision log: figures, reasons and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pag_ros.evaluation.plot_file import save_plot

_FALL_WORTH_TELLING = 0.1
_MAX_FALLS = 20


@dataclass
class Course:
    """Frame by frame; NaN where there is no such value (a skipped frame, no deadline).

    Attributes:
        time_left_ms: when the frame was planned.
        budget, slowdown: of its plan.
        planned_ms, measured_ms: duration of the network.
        trimmed: whether it computed fewer pixels than planned.
        keep: planned pixels of all gated blocks together.
    """

    time_left_ms: list[float] = field(default_factory=list)
    budget: list[float] = field(default_factory=list)
    slowdown: list[float] = field(default_factory=list)
    planned_ms: list[float] = field(default_factory=list)
    measured_ms: list[float] = field(default_factory=list)
    trimmed: list[bool] = field(default_factory=list)
    keep: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Fall:
    """A frame whose budget was much smaller than the one before, and why."""

    frame: int
    text: str


@dataclass(frozen=True)
class Summary:
    """Figures of a course; budgets and slowdowns of the frames that were not skipped."""

    frames: int
    skipped: int
    trimmed: int
    budget_mean: float
    budget_min: float
    budget_max: float
    slowdown_min: float
    slowdown_max: float
    falls: tuple[Fall, ...]


def course_of(entries: Iterable[dict[str, Any]]) -> Course:
    """The course that a log's lines tell."""
    course = Course()
    for entry in entries:
        if entry.get("event") == "plan":
            _enter_plan(course, entry)
        elif entry.get("event") == "observe" and course.measured_ms:
            course.measured_ms[-1] = 1e3 * sum(entry["stage_seconds"])
            course.trimmed[-1] = sum(entry["keep_used"]) < course.keep[-1]
    return course


def summary(course: Course) -> Summary:
    """Figures and the largest falls of the budget.

    Raises:
        ValueError: no frame was planned.
    """
    if not course.budget:
        raise ValueError("no frame was planned")
    budget = [value for value in course.budget if math.isfinite(value)] or [math.nan]
    slowdown = [value for value in course.slowdown if math.isfinite(value)] or [math.nan]
    return Summary(
        frames=len(course.budget),
        skipped=sum(math.isnan(value) for value in course.budget),
        trimmed=sum(course.trimmed),
        budget_mean=float(np.mean(budget)),
        budget_min=min(budget),
        budget_max=max(budget),
        slowdown_min=min(slowdown),
        slowdown_max=max(slowdown),
        falls=tuple(_falls(course)),
    )


def plot_course(course: Course, path: Path) -> None:
    """Draw budget, slowdown and times over the frames.

    Args:
        path: .png, .svg or .pdf.
    """
    figure = Figure(figsize=(12, 7), layout="constrained")
    budget, slowdown, times = figure.subplots(3, 1, sharex=True)
    frames = np.arange(len(course.budget))
    budget.plot(frames, course.budget, linewidth=0.8, color="tab:blue")
    skipped = frames[np.isnan(course.budget)]
    budget.plot(skipped, np.zeros(len(skipped)), "x", color="tab:red", label="skipped")
    trimmed = frames[np.array(course.trimmed, bool)]
    budget.plot(trimmed, np.array(course.budget)[trimmed], ".", color="tab:orange", label="trimmed")
    budget.set_ylim(-0.03, 1.05)
    budget.set_ylabel("budget")
    budget.legend(loc="lower right", fontsize="small")
    slowdown.plot(frames, course.slowdown, linewidth=0.8, color="tab:purple")
    slowdown.set_ylabel("slowdown (s)")
    times.plot(frames, course.time_left_ms, linewidth=0.8, color="0.4", label="time left")
    times.plot(frames, course.planned_ms, linewidth=0.8, color="tab:blue", label="planned")
    times.plot(frames, course.measured_ms, linewidth=0.8, color="tab:green", label="measured")
    times.set_ylabel("network, ms")
    times.set_xlabel("frame")
    times.legend(loc="upper right", fontsize="small")
    save_plot(figure, path, dpi=100)


def _enter_plan(course: Course, entry: dict[str, Any]) -> None:
    plan, left_s = entry["plan"], entry["time_left_s"]
    course.time_left_ms.append(math.nan if left_s is None else 1e3 * left_s)
    course.budget.append(math.nan if plan is None else plan["budget"])
    course.slowdown.append(math.nan if plan is None else plan["slowdown"])
    course.planned_ms.append(math.nan if plan is None else 1e3 * sum(plan["stage_seconds"]))
    course.keep.append(0 if plan is None else sum(plan["keep"]))
    course.measured_ms.append(math.nan)
    course.trimmed.append(False)


def _falls(course: Course) -> list[Fall]:
    """The first `_MAX_FALLS` falls of the budget by more than a tenth, or to a skipped frame."""
    falls = []
    for frame in range(1, len(course.budget)):
        before, now = course.budget[frame - 1], course.budget[frame]
        if math.isnan(now):
            left_ms = course.time_left_ms[frame]
            falls.append(Fall(frame, f"skipped, {left_ms:.1f} ms left are too few for the floor"))
        elif before - now > _FALL_WORTH_TELLING:
            falls.append(Fall(frame, f"budget {before:.2f} -> {now:.2f}: {_why(course, frame)}"))
        if len(falls) == _MAX_FALLS:
            break
    return falls


def _why(course: Course, frame: int) -> str:
    """What changed most between two frames: the machine's pace or the time left."""
    pace = course.slowdown[frame] / course.slowdown[frame - 1]
    before_ms, now_ms = course.time_left_ms[frame - 1], course.time_left_ms[frame]
    left = before_ms / now_ms if now_ms else math.inf
    if math.isfinite(pace) and pace >= left:
        return (
            f"the machine slowed down, s {course.slowdown[frame - 1]:.2f} -> "
            f"{course.slowdown[frame]:.2f}"
        )
    if left > 1.0:
        return (
            f"less time left, {course.time_left_ms[frame - 1]:.1f} -> "
            f"{course.time_left_ms[frame]:.1f} ms"
        )
    return "settings or margin changed"
