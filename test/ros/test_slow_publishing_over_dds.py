"""A cloud that takes longer to send than the whole deadline costs the network nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, camera_info, image, picture
from sensor_msgs.msg import PointCloud2

SIZE = (1920, 1440)
"""A cloud of 88 MB: a tenth of a second or more on any machine; the tiny network takes a few ms."""
WARM_FRAMES, FRAMES = 3, 12


def test_a_slow_output_is_named_and_does_not_lead_down_the_ladder(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    # Every frame has the smallest budget there is, as the ladder asks before it is climbed.
    node = start_node(budget_mode="deadline", deadline_ms=5000.0, budget_min=1.0)
    client = connect(node)
    client.listen("points", PointCloud2)
    info = camera_info(*SIZE, fx=1000.0)
    client.publish_until_used(info)
    client.answers(client.stamped(image(picture(*SIZE))), ["points"])
    # Warm frames tell what a cloud takes; then the deadline becomes one that it cannot keep, and
    # that every network could which takes no longer than its cloud.
    publish_ms = min(_send(client)["publish_ms"] for _ in range(WARM_FRAMES))
    assert client.set_parameter("deadline_ms", 0.7 * publish_ms)[0]
    del client.received["/diagnostics"][:]

    for _ in range(FRAMES):
        _send(client)
    node.wait_for_log("deadline: publishing takes")
    assert "most of it points (" in node.log
    reports = [s for m in client.received["/diagnostics"] for s in m.status if "budget" in s.name]
    late = [status for status in reports if "late by publishing" in status.message]
    assert late
    assert all(status.level == status.WARN for status in late)
    assert all("most of it points (" in status.message for status in late)
    assert {v.value for s in reports for v in s.values if v.key == "escalation"} == {"full"}
    assert client.counters()["skipped"] == 0
    for words in ("half the input resolution", "every second frame", "cannot be kept"):
        assert words not in node.log


def _send(client: Client) -> dict[str, float]:
    """Have an image taken in; the durations that the newest report has of the last frame."""
    message = client.stamped(image(picture(*SIZE)))
    before = client.counters()["received"]
    client.publish("image", message)
    client.until_counted("received", before + 1)
    values = client.diagnostic("budget").values
    return {v.key: float(v.value) for v in values if v.key.endswith("_ms")}
