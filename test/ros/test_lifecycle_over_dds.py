"""The node's states: whatever is asked of it, it answers, survives and can go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from lifecycle_msgs.msg import Transition
from ros_client import Client, NodeProcess, image
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

Start = Callable[..., NodeProcess]
Connect = Callable[[NodeProcess], Client]

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP


def test_it_starts_by_itself_and_says_what_it_listens_to(
    shared_node: NodeProcess, client: Client
) -> None:
    assert client.state() == "active"
    heard = next(line for line in shared_node.log.splitlines() if "listening to" in line)
    assert "/image (Image, reliable, keep last 5)" in heard
    assert "/camera_info (CameraInfo, reliable, keep last 5)" in heard


def test_illegal_transitions_are_refused_and_survived(client: Client) -> None:
    assert not client.change_state(CONFIGURE)
    assert not client.change_state(CLEANUP)
    assert not client.change_state(255)
    assert client.state() == "active"
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])


def test_it_waits_to_be_told_and_works_after_every_cycle(
    start_node: Start, connect: Connect
) -> None:
    node = start_node(autostart=False)
    client = connect(node)
    assert client.state() == "unconfigured"
    assert not client.call("save_snapshot", Trigger, Trigger.Request()).success
    client.listen("segmentation/mask", Image)
    in_use = []
    for _ in range(4):
        assert client.change_state(CONFIGURE)
        assert client.change_state(ACTIVATE)
        client.answers(client.stamped(image()), ["segmentation/mask"])
        assert client.change_state(DEACTIVATE)
        assert client.state() == "inactive"
        assert client.change_state(ACTIVATE)
        assert client.change_state(DEACTIVATE)
        assert client.change_state(CLEANUP)
        assert client.state() == "unconfigured"
        in_use.append((_fewest("task", node), _fewest("fd", node)))
    threads, files = zip(*in_use, strict=True)
    assert threads[-1] <= threads[1], threads
    assert files[-1] <= files[1], files


def test_a_bad_model_is_a_failure_with_one_line_that_says_why_and_can_be_put_right(
    start_node: Start, connect: Connect, tiny_model: Path, tmp_path: Path
) -> None:
    truncated = tmp_path / "cut.onnx"
    truncated.write_bytes(b"\x08")
    node = start_node(model=tmp_path / "missing.onnx")
    node.wait_for_log("configure failed")
    client = connect(node)
    assert client.state() == "unconfigured"

    for model in ("no_such_model", str(truncated)):
        assert client.set_parameter("model", model) == (True, "")
        assert not client.change_state(CONFIGURE)
        assert client.state() == "unconfigured"
    reasons = [line for line in node.log.splitlines() if "configure failed" in line]
    for reason, culprit in zip(reasons, ("missing.onnx", "no_such_model", "cut"), strict=True):
        assert culprit in reason

    assert client.set_parameter("model", str(tiny_model)) == (True, "")
    assert client.change_state(CONFIGURE)
    assert client.change_state(ACTIVATE)


def test_a_snapshot_is_written_where_the_parameter_says(client: Client, tmp_path: Path) -> None:
    assert client.set_parameter("snapshot_dir", str(tmp_path / "snapshots")) == (True, "")
    client.listen("segmentation/mask", Image)
    message = client.stamped(image())
    client.answers(message, ["segmentation/mask"])
    saved = client.call("save_snapshot", Trigger, Trigger.Request())

    assert saved.success, saved.message
    stamp = f"{message.header.stamp.sec}000000000"
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert {f"{stamp}_input.png", f"{stamp}_segmentation.png"} <= set(names)


def _fewest(kind: str, node: NodeProcess) -> int:
    """The fewest threads ("task") or open files ("fd") that the node has within a second.

    A thread that has been joined is listed until the kernel has taken it down, which may be after
    the transition has been answered.
    """
    counts = []
    for _ in range(20):
        counts.append(len(list(Path(f"/proc/{node.process.pid}/{kind}").iterdir())))
        time.sleep(0.05)
    return min(counts)
