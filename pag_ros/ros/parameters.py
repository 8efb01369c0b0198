"""The node's parameters: their names, defaults, limits, and the reasons why a value is refused.

`Settings` is the one table; the node declares it, config/perception.yaml repeats it for people.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar

from pag_ros.errors import ParameterError
from pag_ros.runtime.floor_scale import MAX_HEIGHT_M
from pag_ros.runtime.models import DEFAULT_MODEL
from pag_ros.runtime.network_size import Size, parse_size
from pag_ros.runtime.precision import PRECISIONS


class Change(Enum):
    """When a parameter may be set."""

    ANY_TIME = "at any time"
    UNCONFIGURED = "only while the node is unconfigured"
    AT_START = "only when the node starts"


@dataclass(frozen=True)
class ParameterRule:
    """What a parameter means and which values it takes.

    Attributes:
        text: for `ros2 param describe`.
        low, high: limits of a number, both included.
        choices: the allowed texts; empty allows any.
        change: when it may be set.
    """

    text: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    change: Change = Change.ANY_TIME


ParameterValue = bool | int | float | str

_Value = TypeVar("_Value", bool, int, float, str)

_CAMERA_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
"""A part of a topic's name; two underscores in a row are ROS's own."""
_MAX_CAMERAS = 16

PITCH_UNKNOWN = -90.0
"""A camera that looks straight up sees no floor, so that the value is of no other use."""


def _parameter(
    default: _Value,
    text: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    change: Change = Change.ANY_TIME,
) -> _Value:
    rule = ParameterRule(text, low, high, choices, change)
    return field(default=default, metadata={"rule": rule})


@dataclass(frozen=True)
class Settings:
    """The value of every parameter, checked."""

    model: str = _parameter(
        "",
        f"ONNX file (its manifest beside it) or name of a shipped model; empty: {DEFAULT_MODEL}",
        change=Change.UNCONFIGURED,
    )
    network_size: str = _parameter(
        "",
        "input size of the network, WIDTHxHEIGHT as in 480x360; empty: the model's own",
        change=Change.UNCONFIGURED,
    )
    device: str = _parameter(
        "auto",
        "where the network runs",
        choices=("auto", "tensorrt", "cpu"),
        change=Change.UNCONFIGURED,
    )
    precision: str = _parameter(
        "auto",
        "what the CPU computes with; auto: the fastest that costs at most 1 % of any task",
        choices=PRECISIONS,
        change=Change.UNCONFIGURED,
    )
    threads: int = _parameter(
        0,
        "CPU threads of the network, 0: as many as there are cores",
        low=0,
        high=256,
        change=Change.UNCONFIGURED,
    )
    engine_cache_dir: str = _parameter(
        "",
        "folder of built TensorRT engines; empty: pag_ros/engines in the user's cache",
        change=Change.UNCONFIGURED,
    )
    force_engine_rebuild: bool = _parameter(
        False, "build the TensorRT engine anew at every configuration", change=Change.UNCONFIGURED
    )
    build_only: bool = _parameter(
        False,
        "load the model, build and check its TensorRT engine, and end",
        change=Change.AT_START,
    )
    autostart: bool = _parameter(True, "configure and activate by itself", change=Change.AT_START)
    image_transport: str = _parameter(
        "raw",
        "raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage (JPEG or PNG)",
        choices=("raw", "compressed"),
        change=Change.UNCONFIGURED,
    )
    cameras: str = _parameter(
        "",
        "names of several cameras, 'front rear': each has topics NAME/image, NAME/camera_info and "
        "outputs NAME/...; empty: one camera without a name",
        change=Change.UNCONFIGURED,
    )
    camera_height: float = _parameter(
        0.0,
        "metres from the floor to the camera: the depth is scaled so that the floor it sees lies "
        "there; one for all cameras; 0: unknown, the depth is the network's",
        low=0.0,
        high=MAX_HEIGHT_M,
    )
    camera_pitch: float = _parameter(
        PITCH_UNKNOWN,
        "degrees that a camera of camera_height looks below the horizon, not rolled; "
        f"{PITCH_UNKNOWN:g}: unknown, found by the floor's normals, far less exact",
        low=PITCH_UNKNOWN,
        high=90.0,
    )
    ground_frame: str = _parameter(
        "",
        "frame on the floor, z up, e.g. base_footprint: height and pitch of each camera are taken "
        "from /tf and /tf_static instead; empty: they are not",
        change=Change.UNCONFIGURED,
    )
    deadline_ms: float = _parameter(
        0.0, "from capture to output, 0: the camera's period", low=0.0, high=10_000.0
    )
    guard_ms: float = _parameter(
        2.0,
        "of the deadline, kept for the outputs' way to the subscribers",
        low=0.0,
        high=1000.0,
    )
    budget_mode: str = _parameter(
        "deadline",
        "deadline: as much as the time left allows; fixed: always `budget`; adaptive: `budget` on "
        "average, less on easy scenes, never more than the time left allows",
        choices=("deadline", "fixed", "adaptive"),
    )
    budget: float = _parameter(
        1.0,
        "share of the gated computation: the amount if fixed, the most if deadline, the mean if "
        "adaptive",
        low=0.0,
        high=1.0,
    )
    budget_min: float = _parameter(
        0.1,
        "least share, but in mode fixed; a frame that would be late by far even so is skipped",
        low=0.0,
        high=1.0,
    )
    escalate: bool = _parameter(
        True,
        "when even budget_min is late: half the input resolution (on the CPU), then half the frame "
        "rate; when publishing makes frames late: slow outputs less often; not in mode fixed",
        change=Change.UNCONFIGURED,
    )
    depth_encoding: str = _parameter(
        "32FC1",
        "32FC1: metres, NaN invalid; 16UC1: millimetres, 0 invalid",
        choices=("32FC1", "16UC1"),
    )
    depth_max_m: float = _parameter(
        0.0, "farther pixels become +Inf, 0: the model's own range", low=0.0, high=1000.0
    )
    output_scale: float = _parameter(
        1.0,
        "size of the outputs over the image's; 0: as the network gives them, which costs least",
        low=0.0,
        high=1.0,
    )
    points_stride: int = _parameter(
        1, "points has every so manieth row and column of the outputs", low=1, high=64
    )
    palette: str = _parameter(
        "",
        "YAML file `class: [red, green, blue]` for segmentation/color; empty: the model's",
        change=Change.UNCONFIGURED,
    )
    snapshot_dir: str = _parameter(
        "", "folder of ~/save_snapshot; empty: pag_ros in ROS's home (~/.ros)"
    )
    log_decisions: str = _parameter(
        "",
        "file for the controller's decisions, for `pag_ros explain`; empty: none",
        change=Change.UNCONFIGURED,
    )
    diagnostics_period_s: float = _parameter(
        1.0, "time between diagnostics", low=0.1, high=60.0, change=Change.UNCONFIGURED
    )
    diagnostics_no_image_s: float = _parameter(
        2.0, "without an image for so long the input is an ERROR", low=0.1, high=3600.0
    )
    diagnostics_miss_warn: float = _parameter(
        0.05, "share of missed deadlines that is a WARN", low=0.0, high=1.0
    )
    diagnostics_miss_error: float = _parameter(
        0.25, "share of missed deadlines that is an ERROR", low=0.0, high=1.0
    )


RULES: Mapping[str, ParameterRule] = {f.name: f.metadata["rule"] for f in fields(Settings)}
DEFAULTS: Mapping[str, ParameterValue] = vars(Settings())


def updated(settings: Settings, changes: Mapping[str, object], configured: bool) -> Settings:
    """Settings with some values changed, or the reason why not.

    Args:
        changes: parameter name -> new value; an int is accepted where a float is expected.
        configured: whether the node holds a model, so that its model cannot change now.

    Raises:
        ParameterError: a value outside its limits, of another type, or not to be changed now.
    """
    # Any, as mypy cannot know that each value has the type of the default of its name.
    checked: dict[str, Any] = {name: _checked(name, value) for name, value in changes.items()}
    for name, value in checked.items():
        change = RULES[name].change
        if configured and change is not Change.ANY_TIME and value != getattr(settings, name):
            raise ParameterError(f"{name} can be set {change.value}: clean the node up first")
    result = replace(settings, **checked)
    camera_names(result.cameras)
    chosen_size(result.network_size)
    if result.budget_mode != "fixed" and result.budget_min > result.budget:
        raise ParameterError(
            f"budget_min ({result.budget_min}) must not exceed budget ({result.budget})"
        )
    if result.ground_frame and result.camera_height:
        raise ParameterError(
            f"camera_height ({result.camera_height:g}) and ground_frame ({result.ground_frame}) "
            "both tell the camera's height; set one of them"
        )
    return result


def describe_unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a parameter that was given and that this node does not have.

    Args:
        known: the names that it might be a slip of.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"parameter {name} is ignored, there is no such parameter{hint}"


def chosen_size(text: str) -> Size | None:
    """The size in the parameter `network_size`; None is the model's own.

    Raises:
        ParameterError: it is no size; whether the model can have it is seen when it is loaded.
    """
    try:
        return parse_size(text) if text else None
    except ParameterError as error:
        raise ParameterError(f"network_size: {error}") from error


def camera_names(text: str) -> tuple[str, ...]:
    """The names in the parameter `cameras`; ("",) is the one camera without a name.

    Raises:
        ParameterError: a name that no topic can have, a name twice, or too many of them.
    """
    names = text.replace(",", " ").split()
    for name in names:
        if not _CAMERA_NAME.fullmatch(name):
            raise ParameterError(
                f"cameras: {name!r} names no topic; use letters, digits and _, a letter first"
            )
        if names.count(name) > 1:
            raise ParameterError(f"cameras: {name!r} is there twice")
    if len(names) > _MAX_CAMERAS:
        raise ParameterError(f"cameras: {len(names)} names, at most {_MAX_CAMERAS}")
    return tuple(names) or ("",)


def _checked(name: str, value: object) -> ParameterValue:
    rule, default = RULES[name], DEFAULTS[name]
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if not isinstance(value, int | float | str) or type(value) is not type(default):
        raise ParameterError(
            f"{name} must be a {type(default).__name__}, got {value!r} ({type(value).__name__})"
        )
    if rule.choices and value not in rule.choices:
        raise ParameterError(f"{name} must be one of {', '.join(rule.choices)}, got {value!r}")
    # Written so that NaN fails.
    if isinstance(value, int | float) and not rule.low <= value <= rule.high:
        raise ParameterError(f"{name} must lie in {rule.low:g} to {rule.high:g}, got {value}")
    return value
