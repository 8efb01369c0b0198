"""Images arrive: from a camera process that knows nothing of us, whatever it offers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import BEST_EFFORT, PATIENCE_S, Client, NodeProcess, image
from sensor_msgs.msg import Image

from pag_ros.ros.transport import PROFILE_VARIABLES

COUNT, FPS = 80, 10.0

StartCamera = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_camera() -> Iterator[StartCamera]:
    """Starts cameras with the middleware's own settings: none of our DDS profile."""
    cameras: list[subprocess.Popen[bytes]] = []

    def start(
        domain: int, count: int, size: str, reliability: str, fps: float = FPS
    ) -> subprocess.Popen[bytes]:
        settings = {
            name: value
            for name, value in os.environ.items()
            if name not in (*PROFILE_VARIABLES, "RMW_FASTRTPS_PUBLICATION_MODE")
        }
        settings["ROS_DOMAIN_ID"] = str(domain)
        settings["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        command = [sys.executable, "-m", "pag_ros.replay.camera", "", str(count), str(fps)]
        command += [size, reliability]
        cameras.append(subprocess.Popen(command, env=settings))
        return cameras[-1]

    yield start
    for camera in cameras:
        camera.kill()
        camera.wait()


def test_the_images_of_a_reliable_camera_with_default_settings_are_answered(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    start_camera: StartCamera,
) -> None:
    node = start_node()
    node.wait_for_log("active, listening to /image (Image, reliable, keep last 5)")
    client = connect(node)
    client.listen("segmentation/mask", Image)
    client.until(lambda: client.node.count_publishers("/segmentation/mask") == 1, "the output")
    camera = start_camera(node.domain, COUNT, "640x480", "reliable")
    client.until(lambda: camera.poll() is not None, "the camera to end")
    assert camera.returncode == 0
    counters = client.counters()
    answered = {
        (m.header.stamp.sec, m.header.stamp.nanosec) for m in client.received["segmentation/mask"]
    }
    assert len(answered) >= 76, counters
    assert counters["processed"] >= 76
    assert counters["lost"] + counters["superseded"] <= COUNT - counters["processed"]


def test_what_a_best_effort_camera_loses_is_counted_and_the_log_says_what_to_do(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    start_camera: StartCamera,
) -> None:
    node = start_node()
    node.wait_for_log("active, listening")
    client = connect(node)
    camera = start_camera(node.domain, 10_000, "1280x960", "best_effort")
    node.wait_for_log("now listening to /image (Image, best effort, keep last 5)")
    node.wait_for_log("images on /image were lost on their way: the camera offers best effort only")
    assert "start it with FASTRTPS_DEFAULT_PROFILES_FILE=" in node.log
    client.until_counted("lost", 10)
    assert camera.poll() is None
    # A status tells of its own period, and in one or another all may have arrived.
    client.until(
        lambda: "lost on their way" in client.diagnostic("input").message,
        "a period in which images were lost",
    )
    status = client.diagnostic("input")
    assert {v.key: v.value for v in status.values}["reliability"] == "best effort"


def test_publishers_that_come_and_go_are_followed(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    start_camera: StartCamera,
) -> None:
    node = start_node()
    node.wait_for_log("active, listening to /image (Image, reliable")
    client = connect(node)
    client.listen("computed/image", Image)
    small, image_qos = "64x48", "now listening to /image (Image, {}, keep last 5)"
    camera = start_camera(node.domain, 10_000, small, "best_effort")
    node.wait_for_log(image_qos.format("best effort"))
    client.until(lambda: bool(client.received["computed/image"]), "an answer to best effort")
    # One that offers more, beside one that does not: both are to be heard.
    client.answers(client.stamped(image()), ["computed/image"])
    camera.kill()
    camera.wait(PATIENCE_S)
    node.wait_for_log(image_qos.format("reliable"))
    client.answers(client.stamped(image()), ["computed/image"])


def test_a_reliability_that_the_user_sets_stays(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
) -> None:
    override = {
        "qos_overrides./image.subscription.reliability": "best_effort",
        "qos_overrides./image.subscription.depth": 2,
    }
    node = start_node(**override)
    node.wait_for_log("listening to /image (Image, best effort, keep last 2)")
    # The topic beside it, which nobody has set, has its own.
    assert "/camera_info (CameraInfo, reliable, keep last 5)" in node.log
    client = connect(node)
    client.listen("computed/image", Image)
    client.answers(client.stamped(image()), ["computed/image"])  # from a reliable publisher
    client.answers(client.stamped(image()), ["computed/image"], BEST_EFFORT)
    assert "now listening to /image" not in node.log
