"""No message, however broken, ends the node or stops the good ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, image
from sensor_msgs.msg import Image


def test_broken_images_are_dropped_and_counted(client: Client, shared_node: NodeProcess) -> None:
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])

    for broken in (_cut_off(), _unknown_encoding(), _narrow_step(), _without_pixels(), _huge()):
        before = client.counters()["bad"]
        client.publish("image", client.stamped(broken))
        client.until_counted("bad", before + 1)
    client.answers(client.stamped(image()), ["segmentation/mask"])

    assert shared_node.alive()
    assert "image on /image dropped: rgb8 image of 64x48 needs rows of 192 bytes" in shared_node.log
    assert "Traceback" not in shared_node.log
    status = client.diagnostic("counters")
    assert status.level == status.WARN


def test_every_image_sent_is_accounted_for_however_fast_they_come(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    pytest.importorskip("rclpy.event_handler", reason="Humble does not tell what DDS has replaced")
    client = connect(start_node())
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])
    before = client.counters()
    for number in range(60):
        broken = number % 3 == 0
        client.publish("image", client.stamped(_cut_off() if broken else image()))

    def all_accounted_for() -> bool:
        counts = client.counters()
        ends = ("processed", "superseded", "skipped", "abandoned", "bad", "idle")
        return counts["received"] == sum(counts[end] for end in ends) == before["received"] + 60

    client.until(all_accounted_for, "60 images to be accounted for")


def _cut_off() -> Image:
    message = image()
    message.data = message.data[:-1]
    return message


def _unknown_encoding() -> Image:
    return image(encoding="rgb99")


def _narrow_step() -> Image:
    message = image()
    message.step = 7
    return message


def _without_pixels() -> Image:
    return Image(encoding="rgb8")


def _huge() -> Image:
    return Image(width=2**31, height=2**31, step=2**31, encoding="mono8", data=b"x")
