"""A simulated machine to try controllers on: the same load, noise and frames for each of them.

Deterministic, without clocks and I/O. What it leaves out (transport, decoding, publishing, the
operating system's whims) `pag_ros bench load` shows on a real node.
"""

from __future__ import annotations

from pag_ros.budget.simulation.machine import Played, SimulatedModel, play
from pag_ros.budget.simulation.rivals import CONTROLLERS, Planning, make_controller
from pag_ros.budget.simulation.scores import (
    SETTLED_FRAMES,
    Row,
    frames_to_settle,
    score,
    wilson_interval,
)
from pag_ros.budget.simulation.traces import HELD_OUT, TUNING, Trace, make_trace, recorded_trace

__all__ = [
    "CONTROLLERS",
    "HELD_OUT",
    "SETTLED_FRAMES",
    "TUNING",
    "Planning",
    "Played",
    "Row",
    "SimulatedModel",
    "Trace",
    "frames_to_settle",
    "make_controller",
    "make_trace",
    "play",
    "recorded_trace",
    "score",
    "wilson_interval",
]
