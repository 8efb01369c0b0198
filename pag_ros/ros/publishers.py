"""The publishers of a configured node: created together, destroyed together."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import String

from pag_ros.errors import ParameterError
from pag_ros.manifest import LabelClass
from pag_ros.ros.messages import ArrayMessage, labels_json
from pag_ros.ros.sending import send
from pag_ros.ros.timing import Stopwatch

RELIABLE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def topic_of(camera: str, topic: str) -> str:
    """A topic's name with its camera's, "depth/image" -> "front/depth/image".

    Args:
        camera: empty for the only camera, whose topics have none.
        topic: relative, or private ("~/budget" -> "~/front/budget").
    """
    if not camera:
        return topic
    return f"~/{camera}/{topic[2:]}" if topic.startswith("~/") else f"{camera}/{topic}"


def refused(topic: str, error: Exception) -> ParameterError:
    """Why a topic cannot be published or subscribed to, with what a user may have got wrong."""
    return ParameterError(f"{topic}: {error}; look at its name and its qos_overrides")


class Publishers:
    """One publisher for each topic.

    Plain ones, not lifecycle publishers: Humble's never leave the node's list of managed entities,
    so that every clean-up would leak; and an inactive node has no frames to publish anyway.

    Args:
        node: that publishes.
        types: topic name -> class of its messages.
        camera: whose topics they are, see `topic_of`.

    Raises:
        ParameterError: a topic's QoS is overridden with something that is none.
    """

    def __init__(self, node: Node, types: Mapping[str, type], camera: str = "") -> None:
        self._node = node
        self._camera = camera
        self._by_topic: dict[str, Publisher] = {}
        try:
            for name, kind in types.items():
                self._by_topic[name] = self._create(name, kind, RELIABLE)
        except Exception:
            self.destroy()
            raise

    def subscribed(self) -> frozenset[str]:
        """The topics that somebody listens to now."""
        return frozenset(
            name
            for name, publisher in self._by_topic.items()
            if publisher.get_subscription_count() > 0
        )

    def publish(self, messages: Mapping[str, object]) -> dict[str, float]:
        """Send one message on each of some topics; how long each took, in seconds."""
        watch = Stopwatch()
        for topic, message in messages.items():
            if isinstance(message, ArrayMessage):
                send(self._by_topic[topic], message.serialize())
            else:
                self._by_topic[topic].publish(message)
            watch.lap(topic)
        return watch.laps

    def latch_labels(self, classes: tuple[LabelClass, ...]) -> None:
        """Publish the meaning of the class ids, for those who subscribe later, too."""
        try:
            from vision_msgs.msg import LabelInfo, VisionClass
        except ImportError:
            topic = "segmentation/label_info_json"
            self._node.get_logger().info(
                f"vision_msgs is not installed: the labels are JSON on {topic} instead", once=True
            )
            self._latch(topic, String(data=labels_json(classes)))
            return
        class_map = [VisionClass(class_id=i, class_name=c.name) for i, c in enumerate(classes)]
        labels = LabelInfo(class_map=class_map)
        labels.header.stamp = self._node.get_clock().now().to_msg()
        self._latch("segmentation/label_info", labels)

    def destroy(self) -> None:
        """Take all topics back."""
        for publisher in self._by_topic.values():
            self._node.destroy_publisher(publisher)
        self._by_topic = {}

    def _latch(self, topic: str, message: object) -> None:
        self._by_topic[topic] = self._create(topic, type(message), LATCHED)
        self._by_topic[topic].publish(message)

    def _create(self, topic: str, message_type: type, qos: QoSProfile) -> Publisher:
        name = topic_of(self._camera, topic)
        try:
            return self._node.create_publisher(
                message_type,
                name,
                copy.copy(qos),  # rclpy writes this topic's overrides into it
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        except Exception as error:
            raise refused(self._node.resolve_topic_name(name), error) from error
