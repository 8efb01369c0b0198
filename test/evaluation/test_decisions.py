"""The course of a controller, told from the lines of its log."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from pag_ros.evaluation.decisions import course_of, summary


def planned(budget: float, left_s: float) -> dict[str, object]:
    plan = {"budget": budget, "keep": [1], "stage_seconds": [0.01], "slowdown": 1.0}
    return {"event": "plan", "time_left_s": left_s, "plan": plan}


def test_a_frame_without_any_time_left_has_less_of_it() -> None:
    (fall,) = summary(course_of([planned(1.0, 0.05), planned(0.1, 0.0)])).falls
    assert fall.text.endswith("less time left, 50.0 -> 0.0 ms")
