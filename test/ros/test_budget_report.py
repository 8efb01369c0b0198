"""A frame's report survives its way through a diagnostic status."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("diagnostic_msgs", reason="needs ROS messages: pip install '.[ros]'")

from budget_reports import REPORT

from pag_ros.ros.budget_report import BudgetReport, read_report
from pag_ros.ros.messages import key_values


def sent(report: BudgetReport) -> dict[str, str]:
    """The texts that a listener gets."""
    return {item.key: item.value for item in key_values(report.values())}


@pytest.mark.parametrize(
    "report",
    [REPORT, replace(REPORT, late=True, slow_publishing=False, keep=(), thinned_outputs="")],
)
def test_what_is_sent_is_what_is_read(report: BudgetReport) -> None:
    assert read_report(sent(report)) == report


def test_the_parts_of_a_frames_time_are_told_by_name() -> None:
    assert REPORT.parts_ms == {
        "to_node": 1.5,
        "waiting": 0.25,
        "prepare": 2.0,
        "network": 20.5,
        "publish": 1.75,
    }


@pytest.mark.parametrize("change", [{"late": "yes"}, {"density": "n/a"}, {"keep": "many"}])
def test_what_is_no_report_is_none(change: dict[str, str]) -> None:
    values = sent(REPORT)
    assert read_report(values | change) is None
    del values["late"]
    assert read_report(values) is None
    assert read_report({}) is None
