"""A user names the pictures' topic alone, or a wrong one; and drivers publish as drivers do."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_client import Client, NodeProcess, camera_info, image, picture
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_calibration_is_found_beside_the_pictures_and_compressed_ones_below(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node({"image": "/cam/image_raw"}, image_transport="compressed")
    node.wait_for_log("listening to /cam/image_raw/compressed (CompressedImage, reliable")
    node.wait_for_log("/cam/camera_info (CameraInfo, reliable")
    client = connect(node)
    client.listen("depth/image", Image)
    client.publish("/cam/camera_info", camera_info())
    frame = client.stamped(_jpeg())
    client.answers(frame, ["depth/image"], image_topic="/cam/image_raw/compressed")


def test_compressed_pictures_on_the_topic_itself_are_found_too(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    depth = {"qos_overrides./cam/jpeg.subscription.depth": 3}
    node = start_node({"image": "/cam/jpeg"}, image_transport="compressed", **depth)
    node.wait_for_log("listening to /cam/jpeg/compressed")
    client = connect(node)
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(_jpeg()), ["segmentation/mask"], image_topic="/cam/jpeg")
    assert "now listening to /cam/jpeg (CompressedImage, reliable, keep last 3)" in node.log
    assert "is ignored" not in node.log


def test_a_calibration_that_is_remapped_is_taken_from_there(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node({"image": "/cam/image_raw", "camera_info": "/lens"})
    node.wait_for_log("listening to /cam/image_raw (Image, reliable, keep last 5); /lens (CameraI")


def test_a_calibration_that_was_sent_before_the_node_came_is_received(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    """Some drivers latch it and never send it again."""
    node = start_node(autostart="false")
    client = connect(node)
    latched = client.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(camera_info())
    assert client.change_state(1)
    assert client.change_state(3)
    client.listen("depth/image", Image)
    client.answers(client.stamped(image()), ["depth/image"])
    # A driver that keeps nothing takes its place: heard as well, and no reason to complain.
    client.node.destroy_publisher(latched)
    client.publish_until_used(camera_info(64, 48, 50.0))
    assert "offers another" not in node.log


def test_the_log_says_once_where_pictures_are_and_that_calibration_is_missing(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node({"image": "/typo"}, diagnostics_no_image_s=0.5)
    client = connect(node)
    client.node.create_publisher(Image, "/cam/image_raw", 1)
    node.wait_for_log(
        "no image: nobody publishes /typo; there are pictures on /cam/image_raw (Image)"
    )
    client.listen("segmentation/mask", Image)
    for _ in range(8):
        client.answers(client.stamped(image()), ["segmentation/mask"], image_topic="/typo")
        client.counters()
    node.wait_for_log("no calibrated CameraInfo on /camera_info: depth is not published")
    assert node.log.count("nobody publishes /typo; there") == 1
    assert node.log.count("no calibrated CameraInfo on /camera_info") == 1


def test_the_log_names_a_calibration_that_is_none_and_a_lens_that_bends(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node()
    client = connect(node)
    client.listen("depth/image", Image)
    mad = camera_info()
    mad.k[0] = -1.0
    client.publish("camera_info", mad)
    client.publish("image", client.stamped(image()))
    node.wait_for_log("CameraInfo on /camera_info is no calibration (fx is -1): depth is not")
    bent = camera_info()
    bent.d = [-0.4, 0.1, 0.0, 0.0, 0.0]
    client.publish_until_used(bent)
    client.answers(client.stamped(image()), ["depth/image"])
    node.wait_for_log("the lens (plumb_bob) bends straight lines by ")
    assert "listen to rectified pictures" in node.log


def _jpeg() -> CompressedImage:
    data = cv2.imencode(".jpg", picture()[..., ::-1])[1].tobytes()
    return CompressedImage(format="jpeg", data=data)
