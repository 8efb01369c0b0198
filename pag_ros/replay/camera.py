"""A camera as its users start it: a process of its own, with the middleware's own settings.

Usage: python -m pag_ros.replay.camera NAMESPACE COUNT FPS WIDTHxHEIGHT RELIABILITY. It waits for a
subscriber of NAMESPACE/image, sends COUNT pictures at a steady pace, each with its CameraInfo, and
listens to the node's labels and /diagnostics as another program would. Its last line is JSON:
"sent", "answered", and the node's counters.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from pag_ros.ros.messages import image_message
from pag_ros.ros.topics import MAP_TOPICS

PATIENCE_S = 60.0
SETTLE_S = 1.5
"""After the first sign of a subscriber, for both sides have to know; and after the last image, for
what is on its way, and the node's next /diagnostics."""

FIELD_OF_VIEW_WIDTHS = 0.8
"""Focal length over the width of the picture."""


class Camera:
    """Sends pictures, and takes note of what comes back."""

    def __init__(self, node: Node, namespace: str, size: tuple[int, int], reliability: str) -> None:
        width, height = size
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
        self._node = node
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._images = node.create_publisher(Image, f"{namespace}/image", qos)
        self._infos = node.create_publisher(CameraInfo, f"{namespace}/camera_info", qos)
        self._answered: set[tuple[int, int]] = set()
        self.counters: dict[str, int] = {}
        labels = f"{namespace}/{MAP_TOPICS['labels']}"
        node.create_subscription(Image, labels, self._on_answer, 5)
        node.create_subscription(
            DiagnosticArray, f"{namespace}/diagnostics", self._on_diagnostics, 5
        )
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        self._info = _calibration(width, height)
        self._picture = image_message(self._info.header, noise, "rgb8").to_message()

    @property
    def answered(self) -> int:
        """Pictures of which labels have come back."""
        return len(self._answered)

    def run(self, count: int, fps: float) -> None:
        """Send so many pictures."""
        self._wait_for_subscriber()
        self._spin(SETTLE_S)
        begin = time.monotonic()
        for number in range(count):
            self._spin(max(0.0, begin + number / fps - time.monotonic()))
            self._picture.header.stamp = self._node.get_clock().now().to_msg()
            self._info.header = self._picture.header
            self._infos.publish(self._info)
            self._images.publish(self._picture)
        self._spin(SETTLE_S)

    def _wait_for_subscriber(self) -> None:
        """Some drivers begin at once; what is lost then tells nothing of the settings."""
        until = time.monotonic() + PATIENCE_S
        while self._images.get_subscription_count() == 0 and time.monotonic() < until:
            self._spin(0.05)

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._executor.spin_once(timeout_sec=left)

    def _on_answer(self, message: Image) -> None:
        self._answered.add((message.header.stamp.sec, message.header.stamp.nanosec))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("counters"):
                self.counters = {pair.key: int(pair.value) for pair in status.values}


def _calibration(width: int, height: int) -> CameraInfo:
    fx, cx, cy = FIELD_OF_VIEW_WIDTHS * width, width / 2, height / 2
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [fx, 0.0, cx, 0.0, fx, cy, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fx, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.header.frame_id = "camera_optical"
    return info


def main(namespace: str, count: int, fps: float, size: str, reliability: str) -> None:
    """Run the camera; see above."""
    width, height = map(int, size.split("x"))
    rclpy.init()
    node = rclpy.create_node("camera", namespace=namespace or None)
    camera = Camera(node, namespace, (width, height), reliability)
    camera.run(count, fps)
    print(json.dumps({"sent": count, "answered": camera.answered, **camera.counters}))
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5])
