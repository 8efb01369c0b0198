"""A simulated machine to try controllers on: the same load, noise and frames for each of them.

Deterministic, without clocks and I/O. What it leaves out (transport, decoding, publishing, the
operating system's whims) `pag_ros bench load` shows on a real node.
"""

from __future__ import annotations

from pag_ros.lab.simulation.machine import Played, SimulatedModel, play
from pag_ros.lab.simulation.rivals import CONTROLLERS, Planning, make_controller
from pag_ros.lab.simulation.scores import (
    Row,
    score,
)
from pag_ros.lab.simulation.traces import HELD_OUT, TUNING, Trace, make_trace, recorded_trace

__all__ = [
    "CONTROLLERS",
    "HELD_OUT",
    "TUNING",
    "Planning",
    "Played",
    "Row",
    "SimulatedModel",
    "Trace",
    "make_controller",
    "make_trace",
    "play",
    "recorded_trace",
    "score",
]
