"""A camera as its users start it: a process of its own, with the middleware's default settings.

Usage: camera_process.py COUNT PERIOD_S WIDTHxHEIGHT RELIABILITY. It waits for a subscriber of its
images, sends COUNT of them at a steady pace, each with its CameraInfo, and ends.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import camera_info, image
from sensor_msgs.msg import CameraInfo, Image

PATIENCE_S = 60.0
SETTLE_S = 1.0
"""Between the first sign of a subscriber and the first image: both sides have to know."""


def main(count: int, period_s: float, size: str, reliability: str) -> None:
    width, height = map(int, size.split("x"))
    rclpy.init()
    node = rclpy.create_node("camera")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
    images = node.create_publisher(Image, "image", qos)
    infos = node.create_publisher(CameraInfo, "camera_info", qos)
    wait_for_subscriber(images)
    picture = image(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    info = camera_info(width, height)
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number * period_s - time.monotonic()))
        picture.header.stamp = node.get_clock().now().to_msg()
        info.header = picture.header
        infos.publish(info)
        images.publish(picture)
    time.sleep(SETTLE_S)  # what is on its way may be asked for again
    node.destroy_node()
    rclpy.shutdown()


def wait_for_subscriber(publisher: rclpy.publisher.Publisher) -> None:
    """Some drivers begin at once; then what is lost before discovery tells nothing about QoS."""
    until = time.monotonic() + PATIENCE_S
    while publisher.get_subscription_count() == 0 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(SETTLE_S)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4])
