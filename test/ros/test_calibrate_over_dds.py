"""The service ~/calibrate measures, uses and keeps a latency table, and the node goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, image
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger


def test_it_answers_where_the_table_is_and_frames_come_out_afterwards(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    node = start_node(autostart=False)
    client = connect(node)
    refused = client.call("calibrate", Trigger, Trigger.Request())
    assert (refused.success, refused.message) == (False, "not configured")

    node = start_node()
    client = connect(node)
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])
    answer = client.call("calibrate", Trigger, Trigger.Request())
    assert answer.success, answer.message
    for path in map(Path, answer.message.split(", ")):
        assert path.is_relative_to(tmp_path / "cache")
        assert json.loads(path.read_text())
    client.answers(client.stamped(image()), ["segmentation/mask"])
