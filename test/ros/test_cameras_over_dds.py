"""Several cameras on one network: each with its own topics, headers and books."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray
from ros_client import Client, NodeProcess, camera_info, image
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger


def test_every_camera_gets_its_own_outputs(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    tmp_path,
) -> None:
    node = start_node(
        cameras="front rear", budget_mode="deadline", deadline_ms=5000.0, snapshot_dir=tmp_path
    )
    node.wait_for_log("front/image")
    client = connect(node)
    sent: dict[str, list[tuple[int, str]]] = {"front": [], "rear": []}
    for name in sent:
        for topic in ("depth/image", "segmentation/mask"):
            client.listen(f"{name}/{topic}", Image)
        client.listen(f"/pag_perception/{name}/budget", DiagnosticArray)

    def all_answered() -> bool:
        for name in sent:
            message = client.stamped(image(), frame_id=f"{name}_optical")
            sent[name].append((message.header.stamp.sec, message.header.frame_id))
            client.publish(f"{name}/camera_info", camera_info())
            client.publish(f"{name}/image", message)
        return all(len(messages) >= 3 for messages in client.received.values())

    client.until(all_answered, "outputs of both cameras")
    for topic, messages in client.received.items():
        (name,) = (name for name in sent if name in topic)
        headers = [(m.header.stamp.sec, m.header.frame_id) for m in messages]
        assert set(headers) <= set(sent[name])
        assert len(set(headers)) == len(headers)

    client.listen("/diagnostics", DiagnosticArray)
    client.until(lambda: bool(client.received["/diagnostics"]), "diagnostics")
    statuses = {s.name for s in client.received["/diagnostics"][-1].status}
    for name in sent:
        assert {f"pag_perception: {kind} {name}" for kind in ("input", "counters")} <= statuses
    assert "pag_perception: engine" in statuses
    answer = client.call("save_snapshot", Trigger, Trigger.Request())
    assert answer.success, answer.message
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= set(sent)


def test_one_silent_camera_does_not_stop_the_other(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    client = connect(start_node(cameras="front,rear"))
    client.listen("rear/segmentation/mask", Image)

    def answered() -> bool:
        client.publish("rear/image", client.stamped(image()))
        return bool(client.received["rear/segmentation/mask"])

    client.until(answered, "outputs of the rear camera")


def test_bad_images_of_each_camera_are_told(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node(cameras="front rear")
    client = connect(node)
    client.listen("front/segmentation/mask", Image)
    client.listen("rear/segmentation/mask", Image)

    def told() -> bool:
        for name in ("front", "rear"):
            client.publish(f"{name}/image", client.stamped(image(encoding="rgb99")))
        return all(f"image on /{name}/image dropped" in node.log for name in ("front", "rear"))

    client.until(told, "the node to tell of both")


def test_a_name_twice_is_refused_with_the_reason(start_node: Callable[..., NodeProcess]) -> None:
    node = start_node(cameras="front front")
    node.wait_for_log("cameras: 'front' is there twice")
    assert node.process.wait(timeout=60) == 2
