"""A second subscriber of the node's maps: it listens, or stands still as a paused monitor does.

Usage: python -m pag_ros.replay.second_listener NAMESPACE. It subscribes reliably to the maps of
the node in NAMESPACE and says so once they are connected; who has started it may then stop it. What
standing still costs is told beside one that listens: the node makes as many outputs for either.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from types import TracebackType

import rclpy
from sensor_msgs.msg import Image

from pag_ros.errors import NodeError
from pag_ros.ros.topics import MAP_TOPICS

HEARD = ("depth", "normals", "labels")
_PATIENCE_S = 60.0
_CONNECTED = "connected"


class SecondListener:
    """Starts the process on entry, and ends it on exit.

    Args:
        namespace: of the node that it listens to.
        environment: of the process.
        stands_still: stop it (SIGSTOP) once it is connected.
    """

    def __init__(self, namespace: str, environment: dict[str, str], stands_still: bool) -> None:
        command = [sys.executable, "-m", "pag_ros.replay.second_listener", namespace]
        self._command = command
        self._environment = environment
        self._stands_still = stands_still
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SecondListener:
        """Raises NodeError if it does not get connected."""
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != _CONNECTED:
            self._process.kill()
            self._process.wait()
            raise NodeError("the subscriber beside the camera was not connected to the node")
        if self._stands_still:
            self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.kill()  # ends a stopped process as well
        self._process.communicate()


def main(namespace: str) -> int:
    """Run the process; see above."""
    rclpy.init()
    node = rclpy.create_node("second_listener", namespace=namespace or None)
    topics = [f"{namespace}/{MAP_TOPICS[part]}" for part in HEARD]
    subscriptions = [node.create_subscription(Image, topic, lambda _: None, 5) for topic in topics]
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.1)
        if all(node.count_publishers(subscription.topic_name) for subscription in subscriptions):
            break
    else:
        return 1
    time.sleep(1.0)  # both sides have to know
    print(_CONNECTED, flush=True)
    rclpy.spin(node)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
