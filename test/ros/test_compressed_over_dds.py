"""CompressedImage as input, listened to with the QoS that the user wants."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import Client, NodeProcess, picture, pixels_of
from sensor_msgs.msg import CompressedImage, Image


def test_compressed_images_are_read_and_broken_ones_dropped(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    overrides = {"qos_overrides./image.subscription.reliability": "reliable"}
    node = start_node(image_transport="compressed", **overrides)
    node.wait_for_log("/image/compressed (CompressedImage, reliable, keep last 5)")
    client = connect(node)
    client.listen("segmentation/color", Image)
    png = cv2.imencode(".png", picture()[..., ::-1])[1].tobytes()
    jpeg = cv2.imencode(".jpg", picture()[..., ::-1])[1].tobytes()
    exact = client.answers(client.stamped(_compressed(png)), ["segmentation/color"])[0]
    near = client.answers(client.stamped(_compressed(jpeg)), ["segmentation/color"])[0]
    assert (exact.width, exact.height) == (64, 48)
    assert np.median(cv2.absdiff(pixels_of(exact), pixels_of(near))) < 8

    for data in (b"", b"\xff\xd8", jpeg[:100], b"\x00" * 500):
        before = client.counters()["bad"]
        client.publish("image", client.stamped(_compressed(data)))
        client.until_counted("bad", before + 1)
    client.answers(client.stamped(_compressed(jpeg)), ["segmentation/color"])


def _compressed(data: bytes) -> CompressedImage:
    return CompressedImage(format="jpeg", data=data)
