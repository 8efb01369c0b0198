"""A ROS node that plays the camera and listens to the perception node."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from pag_ros.budget.outcomes import UNACCOUNTED, UNDELIVERED
from pag_ros.errors import NodeError
from pag_ros.evaluation.bags import stamp_of
from pag_ros.replay.live_log import OUTPUT_TOPICS, LiveLog
from pag_ros.replay.node_process import NodeProcess
from pag_ros.ros.budget_report import read_report
from pag_ros.ros.publishers import topic_of

START_TIMEOUT_S = 60.0
FIRST_FRAME_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 5.0
WARM_UP_PERIOD_S = 0.3
SPIN_S = 0.02

NODE_NAME = "pag_perception"
RELIABLE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE
)
MESSAGE_TYPES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
}


@dataclass(frozen=True)
class TimedImage:
    """An image to send.

    Attributes:
        at_s: when, after the start.
        number: of the image in the bag, see `pag_ros.evaluation.bags.Frame`.
        image, camera_info: serialised.
        has_truth: whether the bag has any ground truth for it.
    """

    at_s: float
    number: int
    image: bytes
    camera_info: bytes
    has_truth: bool


@dataclass(frozen=True)
class Playback:
    """How a replay went.

    Attributes:
        first_output_s: from the start of the node's process to its first outputs; None if it is
            not our process.
        behind_ms: by how much an image was sent late, at most.
        engine: backend of the node, as its diagnostics say.
        counters: of the node over this replay; empty if it told none.
        stages: duration of each part of the node's work, for people.
    """

    first_output_s: float | None
    behind_ms: float
    engine: str
    counters: dict[str, int]
    stages: dict[str, str]


class Player:
    """A ROS node that plays the camera and listens to the perception node."""

    def __init__(
        self,
        namespace: str,
        image_type: str,
        log: LiveLog,
        process: NodeProcess | None,
        camera: str = "",
    ) -> None:
        """Enter the ROS graph.

        Args:
            namespace: of the perception node.
            image_type: "sensor_msgs/msg/Image" or "sensor_msgs/msg/CompressedImage".
            log: to be filled.
            process: of the perception node, None if it is not ours.
            camera: which of the node's cameras to play; empty for the only one.
        """
        self._camera = camera
        self._perception = f"{namespace}/{NODE_NAME}".strip("/")
        self._engine = "unknown"
        self._stages: dict[str, str] = {}
        self._log = log
        self._process = process
        self._counters: dict[str, int] | None = None
        self._diagnostics_seen = 0
        self._stop = threading.Event()
        self._warm: dict[int, set[str]] = {}
        self._node = Node(f"pag_replay_{camera}".rstrip("_"), namespace=namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._image_type = image_type
        self._image = self._node.create_publisher(
            MESSAGE_TYPES[image_type], topic_of(camera, "image"), RELIABLE
        )
        self._info = self._node.create_publisher(
            CameraInfo, topic_of(camera, "camera_info"), RELIABLE
        )
        self._listen()

    def close(self) -> None:
        """Leave the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def stop(self) -> None:
        """Have `run` end early; may be called from any thread."""
        self._stop.set()

    def run(
        self,
        first: TimedImage,
        rounds: Iterable[Iterable[TimedImage]],
        progress: Callable[[], object],
    ) -> Playback:
        """Wait for the node, warm it up, send all images and listen to the end.

        Args:
            first: to warm up with.
            rounds: the images, once for each time that the bag is to be played.
            progress: called after each image.

        Raises:
            NodeError: the node is not there, does not answer, or dies.
        """
        self._wait_for_node()
        first_output_s = self._warm_up(first)
        before = self._fresh_counters()
        behind_s = self._play(rounds, progress)
        self._settle(before)
        return Playback(
            first_output_s=first_output_s,
            behind_ms=1e3 * behind_s,
            engine=self._engine,
            counters=self._counters_since(before),
            stages=self._stages,
        )

    def _wait_for_node(self) -> None:
        """Wait until the node listens to our images and offers its outputs.

        Raises:
            NodeError: it does not in time.
        """
        topic = self._image.topic_name
        self._wait(
            lambda: (
                self._image.get_subscription_count() > 0 and self._info.get_subscription_count() > 0
            ),
            START_TIMEOUT_S,
            f"no node listens to {topic} ({self._image_type}); is it active, and is its "
            "image_transport that of the bag?",
        )
        offered = frozenset(
            kind
            for kind, name in OUTPUT_TOPICS.items()
            if self._node.count_publishers(topic_of(self._camera, name)) > 0
        )
        if not offered:
            raise NodeError(f"the node listens to {topic} but offers no outputs beside it")
        self._log.expected = offered

    def _warm_up(self, shot: TimedImage) -> float | None:
        """Send the first image until all its outputs have come, so that all is connected.

        Returns:
            Seconds from the start of the node's process to these outputs, if we started it.

        Raises:
            NodeError: no outputs in time.
        """
        last_sent = 0.0

        def answered() -> bool:
            nonlocal last_sent
            if time.monotonic() - last_sent > WARM_UP_PERIOD_S:
                last_sent = time.monotonic()
                self._warm[self._send(shot, in_log=False)] = set()
            return any(self._log.expected <= kinds for kinds in self._warm.values())

        self._wait(answered, FIRST_FRAME_TIMEOUT_S, "the node takes images but sends no outputs")
        return None if self._process is None else time.monotonic() - self._process.began

    def _fresh_counters(self) -> dict[str, int]:
        """The node's counters when all that was sent so far is done; {} if it tells none."""
        self._spin(WARM_UP_PERIOD_S)
        seen = self._diagnostics_seen
        until = time.monotonic() + SETTLE_TIMEOUT_S
        while self._diagnostics_seen == seen and time.monotonic() < until:
            self._executor.spin_once(timeout_sec=SPIN_S)
        return dict(self._counters or {})

    def _play(
        self, rounds: Iterable[Iterable[TimedImage]], progress: Callable[[], object]
    ) -> float:
        """Send all images at their times while listening; returns the largest delay, seconds."""
        # A thread of its own, so that handling an output never delays an image.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="camera") as camera:
            sending = camera.submit(self._send_all, rounds, progress)
            try:
                while not sending.done():
                    self._executor.spin_once(timeout_sec=SPIN_S)
                    self._require_process()
            finally:
                self._stop.set()
            return sending.result()

    def _settle(self, before: dict[str, int]) -> None:
        """Wait until every image is answered or accounted for, or no more can be expected."""
        until = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < until:
            self._executor.spin_once(timeout_sec=SPIN_S)
            outcomes = self._log.outcomes(self._counters_since(before))
            if not outcomes["lost"] and not outcomes[UNDELIVERED] and not outcomes[UNACCOUNTED]:
                return

    def _counters_since(self, before: dict[str, int]) -> dict[str, int]:
        """What the node counted since `before`; {} if it tells no counters."""
        now = self._counters or {}
        return {name: count - before.get(name, 0) for name, count in now.items()}

    def _listen(self) -> None:
        for kind, topic in OUTPUT_TOPICS.items():
            # The bytes are kept as they are (raw), so that listening costs next to nothing.
            name = topic_of(self._camera, topic)
            self._node.create_subscription(Image, name, self._on_output(kind), RELIABLE, raw=True)
        budget = topic_of(self._camera, "~/budget").replace("~", NODE_NAME)
        self._node.create_subscription(DiagnosticArray, budget, self._on_budget, RELIABLE)
        # A node of our own keeps its diagnostics apart, see NodeProcess.
        diagnostics = "/diagnostics" if self._process is None else "diagnostics"
        self._node.create_subscription(DiagnosticArray, diagnostics, self._on_diagnostics, RELIABLE)

    def _on_output(self, kind: str) -> Callable[[bytes], None]:
        def arrived(data: bytes) -> None:
            now_ns = time.time_ns()
            stamp_ns = stamp_of(data)
            if stamp_ns in self._warm:
                self._warm[stamp_ns].add(kind)
            elif stamp_ns is not None:
                self._log.arrive(kind, stamp_ns, now_ns, data)

        return arrived

    def _on_budget(self, message: DiagnosticArray) -> None:
        stamp = message.header.stamp
        report = read_report({item.key: item.value for item in message.status[0].values})
        if report is not None:
            stamp_ns = stamp.sec * 10**9 + stamp.nanosec
            self._log.report(stamp_ns, report.density, report.late, report.parts_ms)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if status.name == f"{self._perception}: counters {self._camera}".rstrip():
                self._counters = {key: int(value) for key, value in values.items()}
                self._diagnostics_seen += 1
            elif status.name == f"{self._perception}: engine":
                self._engine = status.message
            elif status.name == f"{self._perception}: deadline {self._camera}".rstrip():
                self._stages = {
                    key.removesuffix("_ms"): f"{value} ms"
                    for key, value in values.items()
                    if "p50" in value
                }

    def _send_all(
        self, rounds: Iterable[Iterable[TimedImage]], progress: Callable[[], object]
    ) -> float:
        begin, behind_s = time.monotonic(), 0.0
        for shots in rounds:
            times = [0.0, 0.0]
            for shot in shots:
                delay = begin + shot.at_s - time.monotonic()
                if self._stop.wait(max(delay, 0.0)):
                    return behind_s
                # Never catch up: a burst of images is nothing a camera does.
                begin -= min(delay, 0.0)
                behind_s = max(behind_s, -delay)
                self._send(shot)
                progress()
                times = [times[1], shot.at_s]
            begin += 2.0 * times[1] - times[0]  # one more period after the last image
        return behind_s

    def _send(self, shot: TimedImage, in_log: bool = True) -> int:
        """Send an image stamped now, and return its stamp."""
        now_ns = time.time_ns()
        if in_log:
            self._log.send(now_ns, shot.number)
        self._info.publish(stamped(shot.camera_info, now_ns))
        self._image.publish(stamped(shot.image, now_ns))
        return now_ns

    def _wait(self, reached: Callable[[], bool], timeout_s: float, trouble: str) -> None:
        until = time.monotonic() + timeout_s
        while not reached():
            self._require_process()
            if self._stop.is_set():
                raise NodeError("stopped while waiting for the node")
            if time.monotonic() > until:
                words = "" if self._process is None else f"; it said: {self._process.last_words()}"
                raise NodeError(f"{trouble} (waited {timeout_s:.0f} s){words}")
            self._executor.spin_once(timeout_sec=SPIN_S)

    def _spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._executor.spin_once(timeout_sec=SPIN_S)

    def _require_process(self) -> None:
        if self._process is not None:
            self._process.require_running()


def stamped(data: bytes, stamp_ns: int) -> bytes:
    """A serialised message that begins with a Header, with another stamp."""
    order = "<" if data[1] == 1 else ">"
    stamp = struct.pack(f"{order}iI", stamp_ns // 10**9, stamp_ns % 10**9)
    return data[:4] + stamp + data[12:]
