"""The node for a long time: a camera that comes, goes and changes; states in any order.

A little of it in every test run; `make soak` does as much as one likes (PAG_ROS_SOAK frames, a
hundredth of that in walks through the states) and says what was seen.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from lifecycle_msgs.msg import Transition
from ros_client import Client, NodeProcess, camera_info, image, picture
from sensor_msgs.msg import CameraInfo, Image

SOAK = int(os.environ.get("PAG_ROS_SOAK", "0"))
FRAMES = SOAK or 600
STEPS = SOAK // 10 or 30
"""Of walks through the states; ten are a walk."""

RESTART_EVERY = 200
"""Frames after which the camera is started anew."""

SIZES = ((64, 48), (96, 80), (32, 48), (200, 50))
ENCODINGS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "mono8": 1, "8UC3": 3, "bayer_rggb8": 1}

MOST_GROWTH = 0.01
"""Of the node's memory, after the first fifth of the frames."""

SETTLING_KIB = 6 << 10
"""What a short run may grow by besides: pools of the middleware that fill once."""

ENDS = ("processed", "superseded", "skipped", "abandoned", "bad", "idle")


def test_memory_stays_whatever_the_camera_does(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node()
    node.wait_for_log("active, listening")
    client = connect(node)
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])
    rng, camera, settled_kib = random.Random(1), Camera(client), 0
    began, before = time.monotonic(), client.counters()
    for number in range(FRAMES):
        if number % RESTART_EVERY == 0:
            camera.restart(rng)
        camera.send(rng)
        del client.received["segmentation/mask"][:-1], client.received["/diagnostics"][:-1]
        if number == FRAMES // 5:
            settled_kib = _resident_kib(node)
    client.until(lambda: _accounted_for(client, before), "every frame to be accounted for")
    seconds, counts = time.monotonic() - began, client.counters()
    grown_kib = _resident_kib(node) - settled_kib
    print(
        f"\nsoak: {FRAMES} frames in {seconds:.0f} s, "
        f"{', '.join(f'{counts[end]} {end}' for end in ENDS)}; "
        f"memory {settled_kib >> 10} MiB, {grown_kib / settled_kib:+.2%} since a fifth of them"
    )
    assert grown_kib < MOST_GROWTH * settled_kib + (0 if SOAK else SETTLING_KIB)
    assert counts["bad"] > 0
    assert counts["processed"] > FRAMES // 10
    client.answers(client.stamped(image()), ["segmentation/mask"])
    assert "a callback failed" not in node.log


def test_states_may_be_walked_in_any_order(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    after = {
        ("unconfigured", Transition.TRANSITION_CONFIGURE): "inactive",
        ("inactive", Transition.TRANSITION_ACTIVATE): "active",
        ("active", Transition.TRANSITION_DEACTIVATE): "inactive",
        ("inactive", Transition.TRANSITION_CLEANUP): "unconfigured",
    }
    node = start_node(autostart="false")
    client = connect(node)
    client.listen("segmentation/mask", Image)
    rng, state, done = random.Random(2), client.state(), 0
    for _ in range(STEPS):
        wanted = rng.choice([*dict.fromkeys(number for _, number in after), 99])
        expected = after.get((state, wanted))
        assert client.change_state(wanted) == (expected is not None), (state, wanted)
        state, done = expected or state, done + (expected is not None)
        assert client.state() == state
        if state == "active" and rng.random() < 0.3:
            client.answers(client.stamped(image()), ["segmentation/mask"])
    print(f"\nsoak: {STEPS} transitions asked for, {done} possible ones done, the others refused")
    assert node.alive()


class Camera:
    """A camera driver with a publisher of its own, started now and then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publishers: list[object] = []

    def restart(self, rng: random.Random) -> None:
        """Be gone for a moment, and come again with another size and encoding."""
        node = self._client.node
        for publisher in self._publishers:
            node.destroy_publisher(publisher)
        self._images = node.create_publisher(Image, "image", 5)
        self._infos = node.create_publisher(CameraInfo, "camera_info", 5)
        self._publishers = [self._images, self._infos]
        self._size, self._encoding = rng.choice(SIZES), rng.choice(list(ENCODINGS))
        self._client.until(lambda: self._images.get_subscription_count() > 0, "the node to listen")

    def send(self, rng: random.Random) -> None:
        """One picture, and its calibration; one in fifty is broken."""
        width, height = self._size
        channels = ENCODINGS[self._encoding]
        pixels = np.resize(picture(width, height), (height, width, channels))
        message = image(pixels[..., 0] if channels == 1 else pixels, self._encoding)
        if rng.random() < 0.02:
            message.step = rng.choice((0, 1, 2**31))
        stamp = message.header.stamp
        # Now, long ago, not at all, and in the future: whatever clock a driver has.
        stamp.sec = rng.choice((int(time.time()), 1, 0, 2**31 - 1))
        message.header.frame_id = "camera_optical"
        self._infos.publish(camera_info(width, height))
        self._images.publish(message)
        # In step with the node, so that frames are worked on rather than replaced.
        self._client.exchange(0.01)


def _accounted_for(client: Client, before: dict[str, int]) -> bool:
    """Whether all that the node has received has come to an end."""
    counts = client.counters()
    return counts["received"] == sum(counts[end] for end in ENDS) > before["received"]


def _resident_kib(node: NodeProcess) -> int:
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])
