"""What the node tells of a frame's time and budget: written and read here, and nowhere else.

`~/budget` carries it as a diagnostic status, whose values are texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

NODE_PARTS = ("to_node", "waiting", "prepare", "network", "publish")
"""Parts of a frame's time: from the stamp to the node's callback, until the worker took it,
decoding and resizing, the network, and making and sending the messages. Their durations are fields
below."""


@dataclass(frozen=True)
class BudgetReport:
    """One published frame.

    Attributes:
        budget: planned share of the gated work, 0 to 1.
        density: share of it that was really done.
        keep, keep_planned: pixels that each gated block computed, and was planned to.
        network_planned_ms, network_allowed_ms: expected and allowed duration of the network.
        time_allowed_ms: of the whole frame, from its arrival.
        late: its outputs were out after the deadline.
        slowdown, margin: of the controller, after the frame.
        to_node_ms, waiting_ms, prepare_ms, network_ms, publish_ms: see `NODE_PARTS`.
        slowest_output: topic that took longest to publish, with its time and size.
        slow_publishing: the frame is late because of its publishing.
        thinned_outputs: outputs that not every frame carries, "points 1 of 4".
    """

    budget: float
    density: float
    keep: tuple[int, ...]
    keep_planned: tuple[int, ...]
    network_planned_ms: float
    network_allowed_ms: float
    time_allowed_ms: float
    late: bool
    slowdown: float
    margin: float
    to_node_ms: float
    waiting_ms: float
    prepare_ms: float
    network_ms: float
    publish_ms: float
    slowest_output: str
    slow_publishing: bool
    thinned_outputs: str

    @property
    def parts_ms(self) -> dict[str, float]:
        """Durations of `NODE_PARTS`."""
        return {part: getattr(self, f"{part}_ms") for part in NODE_PARTS}

    def values(self) -> dict[str, object]:
        """Key -> value of the diagnostic status; pixels as "24 12"."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: " ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in found.items()
        }


def read_report(values: Mapping[str, str]) -> BudgetReport | None:
    """The report in a status's values; None if they are something else, or of another version."""
    try:
        return BudgetReport(
            budget=float(values["budget"]),
            density=float(values["density"]),
            keep=_read_pixels(values["keep"]),
            keep_planned=_read_pixels(values["keep_planned"]),
            network_planned_ms=float(values["network_planned_ms"]),
            network_allowed_ms=float(values["network_allowed_ms"]),
            time_allowed_ms=float(values["time_allowed_ms"]),
            late=_read_bool(values["late"]),
            slowdown=float(values["slowdown"]),
            margin=float(values["margin"]),
            to_node_ms=float(values["to_node_ms"]),
            waiting_ms=float(values["waiting_ms"]),
            prepare_ms=float(values["prepare_ms"]),
            network_ms=float(values["network_ms"]),
            publish_ms=float(values["publish_ms"]),
            slowest_output=values["slowest_output"],
            slow_publishing=_read_bool(values["slow_publishing"]),
            thinned_outputs=values["thinned_outputs"],
        )
    except (KeyError, ValueError):
        return None


def _read_bool(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _read_pixels(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))
