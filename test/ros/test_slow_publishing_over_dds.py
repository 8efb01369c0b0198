"""A cloud that takes longer to send than the whole deadline costs the network nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, camera_info, image, picture
from sensor_msgs.msg import PointCloud2

SIZE = (1920, 1440)
"""A cloud of 88 MB: a tenth of a second or more on any machine; the tiny network takes a few ms."""
FRAMES = 12


def test_a_slow_output_is_named_and_does_not_lead_down_the_ladder(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    # Every frame has the smallest budget there is, as the ladder asks before it is climbed.
    node = start_node(budget_mode="deadline", deadline_ms=5000.0, budget_min=1.0)
    client = connect(node)
    client.listen("points", PointCloud2)
    info = camera_info(*SIZE)
    client.publish_until_used(info)
    # The first frames warm everything up; then the deadline becomes one that a cloud cannot keep,
    # and that every network could which takes no longer than its cloud.
    client.answers(client.stamped(image(picture(*SIZE))), ["points"])
    budget = {v.key: float(v.value) for v in _budget(client) if v.key.endswith("_ms")}
    network_ms = budget["prepare_ms"] + budget["network_ms"]
    assert budget["publish_ms"] > network_ms
    assert client.set_parameter("deadline_ms", 0.5 * budget["publish_ms"])[0]

    for _ in range(FRAMES):
        before = client.counters()["received"]
        client.publish("image", client.stamped(image(picture(*SIZE))))
        client.until_counted("received", before + 1)
    node.wait_for_log("deadline: publishing takes")
    assert "most of it points (" in node.log
    status = client.diagnostic("budget")
    assert status.level == status.WARN
    assert "late by publishing, most of it points" in status.message
    assert {v.key: v.value for v in status.values}["escalation"] == "full"
    assert client.counters()["skipped"] == 0
    for words in ("half the input resolution", "every second frame", "cannot be kept"):
        assert words not in node.log


def _budget(client: Client) -> list:
    client.counters()  # a report made after the last frame
    return client.diagnostic("budget").values
