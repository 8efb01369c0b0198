"""What /diagnostics says: is there input, are deadlines met, with what budget, on which engine.

Plain functions from figures to statuses, so that each verdict can be tested without a node; `sign`
puts the node's name before theirs.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from pag_ros.budget import Rung
from pag_ros.manifest import Manifest
from pag_ros.ros.budget_report import BudgetReport
from pag_ros.ros.messages import key_values
from pag_ros.ros.timing import ArrivalReport
from pag_ros.runtime import Session
from pag_ros.runtime.machine_state import MachineState
from pag_ros.runtime.scale_filter import ScaleReport

_MAX_NAMED = 5
"""Topics that a message names."""

_LOST_SHARE_TO_WARN = 0.05
"""Share of the images since the last report."""

_SHARE_OF_STAMPS = 0.8
"""Of the camera's rate: below that images are missing."""

_MISSING = "that the stamps tell of: the camera's driver, or something between, drops the others"


@dataclass(frozen=True)
class Input:
    """The state of the image topic.

    Attributes:
        topic: its full name.
        expected_type: e.g. "sensor_msgs/msg/Image".
        published_types: of every publisher on the topic.
        arrivals: what came since the last report; None while not active.
        reliable: whether images are asked for again if they are lost.
        camera: size and focal length that CameraInfo tells; None without a usable one.
        fault: why a CameraInfo that has come is not usable; empty if it is, or none has.
        lens: what to say of a lens that is no pinhole; empty if there is nothing.
        info_topic: full name of the topic of its CameraInfo.
        elsewhere: where others publish pictures, "/camera/image_raw (Image)".
        converter: what makes pictures of messages, "cv_bridge".
    """

    topic: str
    expected_type: str
    published_types: Sequence[str]
    arrivals: ArrivalReport | None
    reliable: bool
    camera: str | None
    fault: str = ""
    lens: str = ""
    info_topic: str = "camera_info"
    elsewhere: Sequence[str] = ()
    converter: str = ""


def input_problem(state: Input, no_image_s: float) -> str | None:
    """What a user has to mend before anything comes out; None if there is nothing.

    The text is the same as long as the problem is, so that it can be said once.
    """
    if state.arrivals is None:
        return None
    if state.arrivals.silent_s > no_image_s:
        return f"no image: {_why_silent(state, state.arrivals)}"
    if state.camera is None and state.arrivals.images > 0:
        return _uncalibrated(state)
    if state.lens:
        return (
            f"{state.lens}; outputs are those of a pinhole: listen to rectified pictures "
            "(image_proc's image_rect) instead"
        )
    return None


def input_status(state: Input, no_image_s: float) -> DiagnosticStatus:
    """ERROR without images for `no_image_s` seconds, WARN where many are lost on their way, or
    without calibration."""
    arrivals = state.arrivals
    if arrivals is None:
        level, message = DiagnosticStatus.OK, "not active"
    elif arrivals.silent_s > no_image_s:
        silence = f"no image for {arrivals.silent_s:.1f} s"
        level, message = DiagnosticStatus.ERROR, f"{silence}: {_why_silent(state, arrivals)}"
    elif arrivals.lost_share > _LOST_SHARE_TO_WARN:
        level, message = DiagnosticStatus.WARN, f"{_rate(arrivals)} (the log says what to do)"
    elif _are_missing(arrivals):
        level, message = DiagnosticStatus.WARN, f"{_rate(arrivals)} {_MISSING}"
    elif state.camera is None:
        level, message = DiagnosticStatus.WARN, _uncalibrated(state)
    else:
        level, message = DiagnosticStatus.OK, _rate(arrivals)
    values: dict[str, object] = {
        "topic": state.topic,
        "type": state.expected_type,
        "publishers": len(state.published_types),
        "reliability": "reliable" if state.reliable else "best effort",
        "rate_hz": arrivals.rate_hz if arrivals else 0.0,
        "camera_hz": arrivals and arrivals.camera_hz,
        "seconds_since_image": arrivals and arrivals.silent_s,
        "lost_share": arrivals.lost_share if arrivals else 0.0,
        "camera_info": state.camera or state.fault or "none",
        "converter": state.converter or "none",
    }
    if state.lens:
        values["lens"] = state.lens
    return _status("input", level, message, values)


def deadline_status(
    miss_rate: float | None,
    deadline_ms: float,
    percentiles_ms: Mapping[str, tuple[float, float, float]],
    warn: float,
    error: float,
) -> DiagnosticStatus:
    """WARN and ERROR by the share of recent frames that were late or dropped."""
    values: dict[str, object] = {"deadline_ms": deadline_ms, "miss_rate": miss_rate}
    for stage, (p50, p95, p99) in percentiles_ms.items():
        values[f"{stage}_ms"] = f"p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f}"
    if miss_rate is None:
        return _status("deadline", DiagnosticStatus.OK, "n/a: no frame yet", values)
    level = DiagnosticStatus.OK
    if miss_rate > warn:
        level = DiagnosticStatus.WARN
    if miss_rate > error:
        level = DiagnosticStatus.ERROR
    return _status("deadline", level, f"{miss_rate:.1%} of recent frames missed", values)


def budget_status(budget: BudgetReport | None, rung: Rung) -> DiagnosticStatus:
    """What the controller gave the last frame; None before the first one.

    WARN while escalated, or where publishing is too slow, ERROR where the deadline cannot be kept
    whatever is done.
    """
    level, message = DiagnosticStatus.OK, "n/a: no frame yet"
    if budget is not None:
        message = f"budget {budget.budget:.2f}"
    if rung == Rung.DEGRADED:
        level, message = DiagnosticStatus.ERROR, "degraded: even half the frame rate is late"
    elif rung != Rung.FULL:
        level, message = DiagnosticStatus.WARN, f"{message} at {_words(rung)}"
    values: dict[str, object] = {} if budget is None else budget.values()
    remark = _describe_publishing(budget)
    if remark and rung != Rung.DEGRADED:
        level = DiagnosticStatus.WARN
        message += f"; {remark}"
    return _status("budget", level, message, {**values, "escalation": _words(rung)})


def _describe_publishing(budget: BudgetReport | None) -> str:
    """What slow outputs have led to; empty if all is well."""
    if budget is None:
        return ""
    remarks = []
    if budget.slow_publishing:
        remarks.append(f"late by publishing, most of it {budget.slowest_output}")
    if budget.thinned_outputs:
        remarks.append(f"published less often: {budget.thinned_outputs}")
    return "; ".join(remarks)


def scale_status(scale: ScaleReport | None) -> DiagnosticStatus:
    """Which scale the depth of the last frame has; None if nothing is known of the camera's height.

    WARN where the floor asks for a factor out of range: the height is not right.
    """
    if scale is None:
        message = "network: neither camera_height nor ground_frame is set"
        return _status("depth scale", DiagnosticStatus.OK, message, {"source": "network"})
    level = DiagnosticStatus.OK if scale.refused is None else DiagnosticStatus.WARN
    values = {
        "source": scale.source.value,
        "factor": scale.factor,
        "floor_share": scale.share,
        "spread": scale.spread,
        "confidence": scale.confidence,
        "seconds_since_floor": scale.age_s,
        "refused_factor": scale.refused,
    }
    return _status("depth scale", level, scale.describe(), values)


def engine_status(
    session: Session, machine: MachineState, sizes: Sequence[Manifest], log_cut_off: str = ""
) -> DiagnosticStatus:
    """What computes, and where; WARN if its decisions are no longer logged though they should be.

    Args:
        session: that runs the next frame, at half the resolution while escalated.
        sizes: manifest of the whole resolution, then of the half one if that is loaded.
        log_cut_off: why the log of decisions has ended; empty if it has not.
    """
    level, message = DiagnosticStatus.OK, session.backend
    if log_cut_off:
        level, message = DiagnosticStatus.WARN, f"{message}; log_decisions ended: {log_cut_off}"
    manifest = session.manifest
    values = {
        "backend": session.backend,
        "model": manifest.name,
        "sha256": manifest.sha256,
        "input": f"{manifest.width}x{manifest.height}",
        "gated_blocks": len(manifest.blocks),
        "half_resolution_scores": _costs(*sizes) or "not recorded",
        "power_mode": machine.power_mode or "unknown",
        "hottest_celsius": max(machine.temperatures.values(), default=None),
    }
    return _status("engine", level, message, values)


def _costs(whole: Manifest, half: Manifest | None = None) -> str:
    """What half the resolution leaves of the scores at the whole budget; empty if not recorded."""
    scores, halved = ({} if m is None else m.scores.get("1.00", {}) for m in (whole, half))
    return ", ".join(
        f"{metric} {halved[metric]:g} for {value:g}"
        for metric, value in scores.items()
        if metric in halved
    )


def counters_status(counts: Mapping[str, int]) -> DiagnosticStatus:
    """What became of the frames since the node was configured; WARN if messages were bad."""
    level = DiagnosticStatus.WARN if counts["bad"] else DiagnosticStatus.OK
    message = f"{counts['processed']} of {counts['received']} frames processed"
    return _status("counters", level, message, counts)


def of_camera(camera: str, statuses: Sequence[DiagnosticStatus]) -> list[DiagnosticStatus]:
    """The statuses with the camera's name behind their own; as they are for the only camera."""
    for status in statuses:
        status.name = f"{status.name} {camera}".rstrip()
    return list(statuses)


def sign(statuses: Sequence[DiagnosticStatus], node: str) -> None:
    """Say whose statuses they are, so that those of two nodes, or two robots, do not collide.

    Args:
        node: its name with its namespace.
    """
    for status in statuses:
        status.name = f"{node}: {status.name}"
        status.hardware_id = platform.node() or node


def _words(rung: Rung) -> str:
    return rung.name.lower().replace("_", " ")


def _rate(arrivals: ArrivalReport) -> str:
    lost = f", {arrivals.lost_share:.0%} lost on their way" if arrivals.lost_share > 0.0 else ""
    taken = f" of the {arrivals.camera_hz:.1f}" if _are_missing(arrivals) else ""
    return f"{arrivals.rate_hz:.1f}{taken} images/s{lost}"


def _are_missing(arrivals: ArrivalReport) -> bool:
    """Whether fewer images come than the camera takes, by their stamps."""
    return arrivals.rate_hz < _SHARE_OF_STAMPS * (arrivals.camera_hz or 0.0)


def _why_silent(state: Input, arrivals: ArrivalReport) -> str:
    if not state.published_types:
        return f"nobody publishes {state.topic}{_instead(state.elsewhere)}"
    if state.expected_type not in state.published_types:
        others = ", ".join(sorted(set(state.published_types)))
        return f"{state.topic} is {others}, not {state.expected_type}{_transport_of(others)}"
    if arrivals.lost_share > 0.0:
        return "all were lost on their way (the log says what to do)"
    return f"{state.topic} has a publisher, but it sends none"


def _uncalibrated(state: Input) -> str:
    what = f"CameraInfo on {state.info_topic}"
    what = f"{what} is no calibration ({state.fault})" if state.fault else f"no calibrated {what}"
    return f"{what}: depth is not published"


def _instead(elsewhere: Sequence[str]) -> str:
    """Where there are pictures, of topics that a user may have meant."""
    if not elsewhere:
        return ", nor pictures on any other topic"
    named = ", ".join(elsewhere[:_MAX_NAMED])
    more = len(elsewhere) - _MAX_NAMED
    return f"; there are pictures on {named}{f' and {more} more' if more > 0 else ''}"


def _transport_of(types: str) -> str:
    """What to set the parameter image_transport to, where a topic has the type of the other one."""
    known = {"sensor_msgs/msg/Image": "raw", "sensor_msgs/msg/CompressedImage": "compressed"}
    return f"; set image_transport to {known[types]}" if types in known else ""


def _status(
    name: str, level: bytes, message: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        values=key_values(values),
    )
