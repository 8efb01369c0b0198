"""The topics that carry numbers about a frame: its budget, and how long it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_msgs.msg import Float64, Header

from pag_ros.ros.budget_report import BudgetReport
from pag_ros.ros.messages import key_values


@dataclass(frozen=True)
class Figures:
    """Numbers about one frame, taken when its outputs had been published.

    Attributes:
        header: of the camera's picture.
        processing_ms: since the picture arrived.
        latency_ms: since it was captured; equals processing_ms where the stamp is of another clock.
        budget: what the controller decided and how it came out, for people and plots.
    """

    header: Header
    processing_ms: float
    latency_ms: float
    budget: BudgetReport


@dataclass(frozen=True)
class Figure:
    """One topic: the class of its messages, and how they are made."""

    message_type: type
    render: Callable[[Figures], DiagnosticArray | Float64]


def _budget(figures: Figures) -> DiagnosticArray:
    status = DiagnosticStatus(
        name="pag_perception: budget",
        level=DiagnosticStatus.OK,
        message="late" if figures.budget.late else "in time",
        values=key_values(figures.budget.values()),
    )
    return DiagnosticArray(header=figures.header, status=[status])


def _processing_time(figures: Figures) -> Float64:
    return Float64(data=figures.processing_ms)


def _latency(figures: Figures) -> Float64:
    return Float64(data=figures.latency_ms)


FIGURES: Mapping[str, Figure] = {
    "~/budget": Figure(DiagnosticArray, _budget),
    "debug/processing_time_ms": Figure(Float64, _processing_time),
    "debug/pipeline_latency_ms": Figure(Float64, _latency),
}
