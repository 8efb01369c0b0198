"""Parameters of the running node: what is accepted takes effect, what is refused says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray
from ros_client import PATIENCE_S, Client, NodeProcess, image
from sensor_msgs.msg import Image


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("budget", 1.5, "budget"),
        ("budget", "much", "budget must be a float"),
        ("budget_mode", "greedy", "deadline, fixed"),
        ("deadline_ms", -1.0, "deadline_ms"),
        ("depth_encoding", "64FC1", "32FC1, 16UC1"),
        ("model", "other", "clean the node up first"),
        ("image_transport", "compressed", "clean the node up first"),
        ("autostart", False, "read-only"),
    ],
)
def test_wrong_values_are_refused_with_the_reason(
    client: Client, name: str, value: object, reason: str
) -> None:
    accepted, text = client.set_parameter(name, value)
    assert not accepted
    assert reason in text


def test_the_budget_can_be_changed_while_running(client: Client) -> None:
    topics = client.listen_to_all(
        {"computed/image": Image, "pag_perception/budget": DiagnosticArray}
    )
    for value in (0.5, 0, 1):
        assert client.set_parameter("budget_min", 0.0) == (True, "")
        assert client.set_parameter("budget", value) == (True, "")
        budget = client.answers(client.stamped(image()), topics)[1].status[0]
        assert {v.key: v.value for v in budget.values}["budget"] == f"{value}"


def test_a_wrong_start_value_ends_the_node_with_one_line(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node(device="abacus")
    assert node.process.wait(PATIENCE_S) == 2
    assert "device must be one of auto, tensorrt, cpu" in node.log
