"""The real node in a process of its own, and a client that talks to it over DDS."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

SOURCE = Path(__file__).parents[2]
FOCAL_PX = 60.0
PATIENCE_S = 60.0
"""Give up after this; long, so that a loaded machine fails no test."""

RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_DOMAINS = 50
"""Of each process that `make test` runs tests in, lest their nodes hear each other."""
SHARED_DOMAIN = 1 + _WORKER % 2 * _DOMAINS
"""Of the node that serves all tests which start none."""
_domains = itertools.count(os.getpid())


class NodeProcess:
    """`pag_ros.ros.main` in another process, its log in a file.

    Args:
        remapped: topic of the node -> topic that it is to use.
    """

    def __init__(
        self,
        log: Path,
        domain: int,
        parameters: dict[str, Any],
        remapped: dict[str, str] | None = None,
    ) -> None:
        self.domain = domain
        self._log = log
        arguments = []
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={value}"]
        for name, topic in (remapped or {}).items():
            arguments += ["-r", f"{name}:={topic}"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pag_ros.ros.main", "--ros-args", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=SOURCE,
                env={**os.environ, **_environment(domain)},
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Until the node has said something."""
        _until(lambda: text in self.log or self.process.poll() is not None)
        assert text in self.log, f"node never said {text!r}; it said:\n{self.log}"

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> int:
        """Ask it to end, as Ctrl+C does; returns the exit code."""
        if self.alive():
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Client:
    """A camera and a listener in one, in this process."""

    def __init__(self, domain: int) -> None:
        os.environ.update(_environment(domain))
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("client", context=self._context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.received: dict[str, list[Any]] = {}
        self._stamps = itertools.count(1_000)
        self._publishers: dict[tuple[str, type], Any] = {}
        self._clients: dict[str, Any] = {}

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Exchange messages until something is the case."""
        _until(condition, self.exchange)
        assert condition(), f"waited in vain for {what}"

    def listen(self, topic: str, message_type: type, qos: QoSProfile = RELIABLE) -> None:
        """Collect a topic's messages in `received`."""
        messages = self.received.setdefault(topic, [])
        self.node.create_subscription(message_type, topic, messages.append, qos)

    def listen_to_all(self, types: dict[str, type]) -> list[str]:
        """Collect several topics; returns their names."""
        for topic, message_type in types.items():
            self.listen(topic, message_type)
        return list(types)

    def publish(self, topic: str, message: Any, qos: QoSProfile = RELIABLE) -> None:
        """Send a message, once somebody listens."""
        key = (topic, type(message))
        if key not in self._publishers:
            self._publishers[key] = self.node.create_publisher(type(message), topic, qos)
        publisher = self._publishers[key]
        self.until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        publisher.publish(message)

    def publish_until_used(self, info: CameraInfo) -> None:
        """Publish a CameraInfo until the node's diagnostics say that it has this one."""
        wanted = f"{info.width}x{info.height}, fx {info.k[0]:g}"

        def used() -> bool:
            self.publish("camera_info", info)
            self.counters()
            values = {v.key: v.value for v in self.diagnostic("input").values}
            return values["camera_info"] == wanted

        self.until(used, "the node to take the camera info")

    def stamped(self, message: Any, frame_id: str = "camera_optical") -> Any:
        """Give a message a stamp of its own; returns it."""
        message.header.stamp.sec = next(self._stamps)
        message.header.frame_id = frame_id
        return message

    def answers(
        self,
        message: Any,
        topics: list[str],
        qos: QoSProfile = RELIABLE,
        image_topic: str = "image",
    ) -> list[Any]:
        """Publish an image, again and again until the connections stand, and collect its outputs.

        Returns:
            The message with the image's stamp on each of the topics.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self._answered(message, topics):
            assert time.monotonic() < deadline, f"no answer on {topics}"
            self.publish(image_topic, message, qos)
            _until(lambda: self._answered(message, topics), self.exchange, patience_s=1.0)
        return [self._with_stamp_of(message, topic)[0] for topic in topics]

    def answers_to_one(self, message: Any, topics: list[str]) -> None:
        """Publish an image once, over connections that stand, and wait for its outputs."""
        self.publish("image", message)
        self.until(lambda: self._answered(message, topics), f"answers on {topics}")

    def _answered(self, message: Any, topics: list[str]) -> bool:
        return all(self._with_stamp_of(message, topic) for topic in topics)

    def _with_stamp_of(self, message: Any, topic: str) -> list[Any]:
        stamp = message.header.stamp
        return [m for m in self.received[topic] if _stamp(m) in (stamp, None)]

    def exchange(self, patience_s: float = 0.05) -> None:
        """Take what has come, or wait for it."""
        self._executor.spin_once(timeout_sec=patience_s)

    def call(self, service: str, kind: type, request: Any) -> Any:
        """Call a service of the node; returns its response."""
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f"/pag_perception/{service}")
        client = self._clients[service]
        self.until(client.service_is_ready, service)
        future = client.call_async(request)
        self.until(future.done, f"{service} to answer")
        return future.result()

    def change_state(self, transition_id: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition_id
        return bool(self.call("change_state", ChangeState, request).success)

    def state(self) -> str:
        return str(self.call("get_state", GetState, GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> tuple[bool, str]:
        """Returns whether it was accepted, and the reason why not."""
        message: ParameterMessage = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[message])
        result = self.call("set_parameters", SetParameters, request).results[0]
        return result.successful, result.reason

    def counters(self) -> dict[str, int]:
        """The node's frame counters, from a diagnostics message sent after this call."""
        if "/diagnostics" not in self.received:
            self.listen("/diagnostics", DiagnosticArray)
        # The first to come may have been made before the last frame ended.
        wanted = len(self.received["/diagnostics"]) + 2
        self.until(lambda: len(self.received["/diagnostics"]) >= wanted, "diagnostics")
        status = self.diagnostic("counters")
        return {v.key: int(v.value) for v in status.values}

    def until_counted(self, counter: str, least: int) -> None:
        """Wait until a counter has reached a value."""
        self.until(lambda: self.counters()[counter] >= least, f"{least} {counter}")

    def diagnostic(self, name: str) -> Any:
        """The newest status of that name."""
        statuses = self.received["/diagnostics"][-1].status
        return next(s for s in statuses if s.name.endswith(name))


def picture(width: int = 64, height: int = 48) -> np.ndarray:
    """[h,w,3] uint8, no two rows or columns alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 255 // height, columns * 255 // width, (rows + columns) % 256)
    return np.stack(channels, axis=-1).astype(np.uint8)


def image(pixels: np.ndarray | None = None, encoding: str = "rgb8") -> Image:
    """An Image message of [h,w] or [h,w,channels] pixels."""
    pixels = picture() if pixels is None else pixels
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=pixels.nbytes // pixels.shape[0],
        data=pixels.tobytes(),
    )


def camera_info(width: int = 64, height: int = 48, fx: float = FOCAL_PX) -> CameraInfo:
    cx, cy = width / 2, height / 2
    return CameraInfo(
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fx, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fx, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def pixels_of(message: Image) -> np.ndarray:
    """The pixels of an output image."""
    kinds = {
        "32FC1": (np.float32, 1),
        "32FC3": (np.float32, 3),
        "16UC1": (np.uint16, 1),
        "mono8": (np.uint8, 1),
        "rgb8": (np.uint8, 3),
    }
    dtype, channels = kinds[message.encoding]
    assert message.step == message.width * channels * np.dtype(dtype).itemsize
    pixels = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return pixels[..., 0] if channels == 1 else pixels


def fields_of(message: PointCloud2) -> dict[str, np.ndarray]:
    """The fields of a cloud by name, [h,w] each."""
    kinds = {PointField.FLOAT32: np.float32, PointField.UINT32: np.uint32}
    layout = np.dtype(
        {
            "names": [f.name for f in message.fields],
            "formats": [kinds[f.datatype] for f in message.fields],
            "offsets": [f.offset for f in message.fields],
            "itemsize": message.point_step,
        }
    )
    assert message.row_step == message.width * message.point_step
    points = np.frombuffer(message.data, layout).reshape(message.height, message.width)
    return {f.name: points[f.name] for f in message.fields}


def _stamp(message: Any) -> Any:
    """When its picture was taken; None for messages without a header."""
    return message.header.stamp if hasattr(message, "header") else None


def quick(model: Path) -> dict[str, Any]:
    """Parameters under which no frame is skipped and diagnostics come often."""
    return {"model": model, "budget_mode": "fixed", "diagnostics_period_s": 0.2, "threads": 1}


def _environment(domain: int) -> dict[str, str]:
    return {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def next_domain() -> int:
    """One for a node of a test's own. Those above 101 may collide with ephemeral ports."""
    return SHARED_DOMAIN + 1 + next(_domains) % (_DOMAINS - 1)


def _until(
    condition: Callable[[], bool],
    step: Callable[[], None] = lambda: time.sleep(0.05),
    patience_s: float = PATIENCE_S,
) -> None:
    """Repeat a step until the condition holds or patience ends."""
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        step()
