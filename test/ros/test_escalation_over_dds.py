"""A deadline that no budget can meet leads down the ladder, and the node says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, image
from sensor_msgs.msg import Image

IMPOSSIBLE_MS, EASY_MS = 0.01, 5000.0


def test_the_node_escalates_and_returns(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node(budget_mode="deadline", deadline_ms=EASY_MS)
    client = connect(node)
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])

    def told(words: str) -> Callable[[], bool]:
        def reached() -> bool:
            client.publish("image", client.stamped(image()))
            return words in client.diagnostic("budget").message

        return reached

    assert client.set_parameter("deadline_ms", IMPOSSIBLE_MS)[0]
    client.counters()  # begins to listen to diagnostics
    client.until(told("degraded"), "the node to say that it is degraded")
    status = client.diagnostic("budget")
    assert status.level == status.ERROR
    for words in ("half the input resolution", "every second frame", "cannot be kept"):
        assert words in node.log

    assert client.set_parameter("deadline_ms", EASY_MS)[0]
    client.until(told("at half rate"), "the first rung to be climbed")
    assert client.diagnostic("budget").level == status.WARN
    assert "kept again, with every second frame left out" in node.log
    assert node.alive()
