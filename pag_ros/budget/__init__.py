"""How many pixels to compute so that a frame ends before its deadline. Pure logic, NumPy only."""

from __future__ import annotations

from pag_ros.budget.capture import FrameTiming, Schedule
from pag_ros.budget.controller import Controller, ControllerSettings, Plan
from pag_ros.budget.deadline import (
    Allowance,
    Cause,
    Conditions,
    Outcome,
    Ran,
    Timekeeper,
    Verdict,
)
from pag_ros.budget.decision_log import RecordedController
from pag_ros.budget.escalation import Escalation, Rung
from pag_ros.budget.latency import LatencyTable, StageLatency, monotone_fit
from pag_ros.budget.table_store import load_table, save_table, table_path
from pag_ros.budget.thinning import Thinned, Thinning

__all__ = [
    "Allowance",
    "Cause",
    "Conditions",
    "Controller",
    "ControllerSettings",
    "Escalation",
    "FrameTiming",
    "LatencyTable",
    "Outcome",
    "Plan",
    "Ran",
    "RecordedController",
    "Rung",
    "Schedule",
    "StageLatency",
    "Thinned",
    "Thinning",
    "Timekeeper",
    "Verdict",
    "load_table",
    "monotone_fit",
    "save_table",
    "table_path",
]
