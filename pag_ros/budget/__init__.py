"""How many pixels to compute so that a frame ends before its deadline. Pure logic, NumPy only."""

from __future__ import annotations

from pag_ros.budget.controller import Controller, ControllerSettings, Plan
from pag_ros.budget.decision_log import RecordedController
from pag_ros.budget.escalation import Escalation, Rung
from pag_ros.budget.latency import LatencyTable, StageLatency, monotone_fit
from pag_ros.budget.reserve import Reserve
from pag_ros.budget.sharing import fair_time_s
from pag_ros.budget.table_store import load_table, save_table, table_path

__all__ = [
    "Controller",
    "ControllerSettings",
    "Escalation",
    "LatencyTable",
    "Plan",
    "RecordedController",
    "Reserve",
    "Rung",
    "StageLatency",
    "fair_time_s",
    "load_table",
    "monotone_fit",
    "save_table",
    "table_path",
]
