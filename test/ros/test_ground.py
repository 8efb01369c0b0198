"""Where the cameras are, as the transforms tell."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import Header

from pag_ros.errors import ImageError, ParameterError
from pag_ros.ros.ground import GroundFrame
from pag_ros.runtime.floor_scale import Mount

OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""From x forward, y left, z up to z forward, x right, y down."""


class Log:
    """A node's logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, **_: object) -> None:
        self.lines.append(text)

    warning = error = info


def edge(
    parent: str,
    child: str,
    shift: tuple[float, ...],
    turn: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0),
) -> TransformStamped:
    return TransformStamped(
        header=Header(frame_id=parent),
        child_frame_id=child,
        transform=Transform(
            translation=Vector3(**dict(zip("xyz", shift, strict=True))),
            rotation=Quaternion(**dict(zip("xyzw", turn, strict=True))),
        ),
    )


def told(*edges: TransformStamped) -> GroundFrame:
    ground = GroundFrame("base_footprint", Log())
    ground.enter(SimpleNamespace(transforms=edges))
    return ground


def nodding(degrees: float) -> tuple[float, ...]:
    """A quaternion about y, that lowers what x points to."""
    half = math.radians(degrees) / 2.0
    return (0.0, math.sin(half), 0.0, math.cos(half))


def test_height_and_pitch_are_those_of_the_transforms() -> None:
    ground = told(
        edge("base_footprint", "base_link", (0.0, 0.0, 0.1)),
        edge("base_link", "head", (0.2, 0.0, 1.0), nodding(30.0)),
        edge("head", "camera_optical", (0.0, 0.0, 0.0), OPTICAL),
    )
    mount = ground.mount_of("camera_optical")
    expected = Mount.pitched(1.1, 30.0)
    assert mount.height_m == pytest.approx(expected.height_m)
    assert mount.up == pytest.approx(expected.up)


def test_a_head_that_has_moved_is_where_it_was_told_last() -> None:
    ground = told(
        edge("base_footprint", "head", (0.0, 0.0, 1.0), nodding(30.0)),
        edge("head", "camera", (0.0, 0.0, 0.0), OPTICAL),
    )
    moved = edge("base_footprint", "head", (0.0, 0.0, 0.8), nodding(10.0))
    ground.enter(SimpleNamespace(transforms=[moved]))
    mount = ground.mount_of("/camera")
    assert mount.up == pytest.approx(Mount.pitched(0.8, 10.0).up)
    assert mount.height_m == pytest.approx(0.8)


def test_frames_that_nothing_joins_are_named() -> None:
    with pytest.raises(ImageError, match="no transform camera -> base_footprint in /tf or /tf_st"):
        told().mount_of("camera")


@pytest.mark.parametrize("height_m", [0.0, -0.3, 200.0])
def test_a_camera_must_be_above_the_ground(height_m: float) -> None:
    ground = told(edge("base_footprint", "camera", (0.0, 0.0, height_m), OPTICAL))
    with pytest.raises(ImageError, match=r"the camera is .* m above the ground frame"):
        ground.mount_of("camera")


def test_a_broken_transform_is_told_and_costs_itself_alone() -> None:
    log = Log()
    ground = GroundFrame("base_footprint", log)
    broken = edge("base_footprint", "wheel", (math.nan, 0.0, 0.0))
    good = edge("base_footprint", "camera", (0.0, 0.0, 1.0), OPTICAL)
    ground.enter(SimpleNamespace(transforms=[broken, good]))
    assert ground.mount_of("camera").height_m == 1.0
    assert "base_footprint -> wheel has a translation" in log.lines[0]


def test_both_topics_of_transforms_are_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """With QoS that the publishers of tf2 are compatible with."""
    monkeypatch.setitem(sys.modules, "tf2_msgs", ModuleType("tf2_msgs"))
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", SimpleNamespace(TFMessage=TransformStamped))
    made: dict[str, tuple[Any, ...]] = {}

    def create_subscription(message_type: type, topic: str, callback: Any, qos: Any) -> str:
        made[topic] = message_type, callback, qos.durability
        return topic

    ground = told()
    node: Any = SimpleNamespace(create_subscription=create_subscription)
    assert ground.subscribe(node) == ["/tf", "/tf_static"]
    assert made == {
        "/tf": (TransformStamped, ground.enter, DurabilityPolicy.VOLATILE),
        "/tf_static": (TransformStamped, ground.enter, DurabilityPolicy.TRANSIENT_LOCAL),
    }


def test_without_the_messages_of_tf_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tf2_msgs", None)
    node: Any = object()
    with pytest.raises(ParameterError, match="ground_frame needs the ROS package tf2_msgs"):
        told().subscribe(node)
