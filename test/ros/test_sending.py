"""Serialized messages arrive as they were when they were sent, whichever way they go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_client import PATIENCE_S, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pag_ros.image.headroom import empty_with_room
from pag_ros.ros import sending
from pag_ros.ros.messages import image_message

QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Link:
    """A node that publishes images to itself."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.publisher = node.create_publisher(Image, "image", QOS)
        self.received: list[Image] = []
        node.create_subscription(Image, "image", self.received.append, QOS)
        self._node, self._executor = node, executor
        self._spin_until(lambda: self.publisher.get_subscription_count() == 1)

    def next_image(self) -> Image:
        """The next image that arrives."""
        count = len(self.received)
        self._spin_until(lambda: len(self.received) > count)
        return self.received[-1]

    def _spin_until(self, holds) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, "nothing came"
            self._executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def link() -> Iterator[Link]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=next_domain())
    node = Node("sender", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield Link(node, executor)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def pixels() -> np.ndarray:
    with_room = empty_with_room((48, 64, 3), np.float32)
    with_room[...] = np.random.default_rng(0).random(with_room.shape, np.float32)
    return with_room


@pytest.fixture(params=["rcl", "rclpy"])
def way(request, monkeypatch) -> str:
    if request.param == "rclpy":
        monkeypatch.setattr(sending, "_rcl", lambda: None)
    return request.param


@pytest.mark.parametrize("copied", [False, True])
def test_a_message_arrives_whole_though_it_is_changed_afterwards(
    link: Link, way: str, copied: bool
) -> None:
    image = pixels()
    message = image_message(Header(frame_id="camera"), image, "32FC3")
    expected = message.to_message()
    sending.send(link.publisher, bytes(message.serialize()) if copied else message.serialize())
    image[...] = 0.0
    assert link.next_image() == expected


def test_rclpys_libraries_show_what_is_needed() -> None:
    assert sending._rcl() is not None


@pytest.mark.parametrize(
    ("library", "publisher"),
    [("/no/library", rclpy_implementation.Publisher), (rclpy_implementation.__file__, object)],
)
def test_rclpy_that_does_not_show_it_sends_by_itself(library, publisher, monkeypatch) -> None:
    found = SimpleNamespace(__file__=library, Publisher=publisher)
    monkeypatch.setattr(sending, "rclpy_implementation", found)
    assert sending._rcl.__wrapped__() is None


def test_what_rcl_refuses_rclpy_sends_once_or_says_why(link: Link, monkeypatch) -> None:
    refused = SimpleNamespace(
        rcl_publish_serialized_message=lambda *_: 1, rcutils_reset_error=lambda: None
    )
    monkeypatch.setattr(sending, "_rcl", lambda: refused)
    message = image_message(Header(), pixels(), "32FC3")
    sending.send(link.publisher, message.serialize())
    assert link.next_image() == message.to_message()
    assert len(link.received) == 1


@pytest.mark.usefixtures("way")
def test_a_publisher_that_is_gone_is_an_error_and_no_crash(link: Link) -> None:
    message = image_message(Header(), pixels(), "32FC3").serialize()
    link.publisher.destroy()
    with pytest.raises(rclpy_implementation.InvalidHandle):
        sending.send(link.publisher, message)
