"""A subscription to a camera: as reliable as its publishers offer, and told what is lost.

Fast DDS hands an image to other processes in pieces, through memory that is smaller than one image
unless both sides are told otherwise (transport.py). Best effort then loses most images; a reliable
subscription asks for the missing pieces and gets nearly all. But it gets nothing at all from a
publisher that offers best effort only, so the choice follows the publishers, who come and go.
Likewise with what they keep for late joiners: some drivers send their calibration once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from pag_ros.ros.input_topics import choose_topic
from pag_ros.ros.publishers import refused

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

AUTOMATIC = "automatic"
"""Reliability that follows the publishers; the default of `qos_overrides`."""

QUEUE_DEPTH = 5
"""Images that may wait while the executor is held up. The callback only stores the newest one, so
nothing grows old here; with a depth of 1 an image whose pieces are being repaired is given up as
soon as the next one begins to come."""


class Service(NamedTuple):
    """What a publisher offers, or what is asked of it."""

    reliability: ReliabilityPolicy
    durability: DurabilityPolicy


def choose_service(offered: Sequence[Service], current: Service) -> Service:
    """What to ask of some publishers: the best that all of them offer.

    Args:
        offered: by each publisher of the topic; none leaves things as they are.
        current: what is asked for now.
    """
    if not offered:
        return current
    reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
    kept = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
    return Service(
        ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )


class LostMessages(Protocol):
    """What the middleware tells of messages that it has lost."""

    total_count_change: int


class IncompatibleQos(Protocol):
    """What the middleware tells of a publisher whose messages cannot come."""

    last_policy_kind: QoSPolicyKind


class CameraSubscription:
    """Listens to one topic of sensor_msgs until it is destroyed.

    History, depth and reliability can be overridden where the node starts, as parameters
    `qos_overrides./image.subscription.*`. A reliability that is overridden stays as it is.

    Attributes:
        topic: that it listens to.

    Args:
        node: that subscribes.
        message_type: of sensor_msgs.
        topics: full names that its messages may come on, the likeliest first.
        callback: called with each message (and its info, where it takes two arguments).
        lost: called with the number of messages that the middleware says it has lost.

    Raises:
        ParameterError: the topic's QoS is overridden with something that is none.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topics: Sequence[str],
        callback: Callable[..., None],
        lost: Callable[[int], None],
    ) -> None:
        self.topic, self.topics = topics[0], topics
        self.type_name = f"sensor_msgs/msg/{message_type.__name__}"
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._lost = lost
        try:
            self._overrides = {topic: self._read_override(topic) for topic in topics}
            self._service = self._overruled(
                self.topic, Service(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
            )
            self._subscription = self._subscribe()
        except Exception as error:
            raise refused(self.topic, error) from error

    @property
    def reliable(self) -> bool:
        """Whether lost messages are asked for again."""
        return bool(self._service.reliability == ReliabilityPolicy.RELIABLE)

    def follow(self) -> bool:
        """Ask for what the publishers of now offer; to be called every now and then.

        Returns:
            Whether that is another topic or service than before.
        """
        offered = {topic: self._offered(topic) for topic in self.topics}
        published = [topic for topic in self.topics if offered[topic]]
        topic = choose_topic(self.topics, self.topic, published)
        wanted = self._overruled(topic, choose_service(offered[topic], self._service))
        if (topic, wanted) == (self.topic, self._service):
            return False
        self.destroy()
        self.topic, self._service = topic, wanted
        self._subscription = self._subscribe()
        return True

    def describe(self) -> str:
        """Describe topic, type and QoS for people."""
        qos = self._subscription.qos_profile
        reliability = qos.reliability.name.lower().replace("_", " ")
        return f"{self.topic} ({self._message_type.__name__}, {reliability}, keep last {qos.depth})"

    def destroy(self) -> None:
        """Listen no longer."""
        self._node.destroy_subscription(self._subscription)

    def _overruled(self, topic: str, service: Service) -> Service:
        """With the reliability that the user asks for."""
        return service._replace(reliability=self._overrides[topic] or service.reliability)

    def _offered(self, topic: str) -> list[Service]:
        """What each publisher of a topic offers that sends what we expect."""
        return [
            Service(publisher.qos_profile.reliability, publisher.qos_profile.durability)
            for publisher in self._node.get_publishers_info_by_topic(topic)
            if publisher.topic_type == self.type_name
        ]

    def _read_override(self, topic: str) -> ReliabilityPolicy | None:
        """The reliability that the user asks for, None if it is to follow the publishers.

        rclpy declares the other policies by itself. But it would declare this one with our first
        choice as its default, and read that back at the next subscription as if a user had set it.

        Raises:
            ValueError: there is no such reliability.
        """
        name = f"qos_overrides.{topic}.subscription.reliability"
        if not self._node.has_parameter(name):
            text = f"reliability for subscription `{topic}`; {AUTOMATIC}: as its publishers"
            descriptor = ParameterDescriptor(description=text, read_only=True)
            self._node.declare_parameter(name, AUTOMATIC, descriptor)
        value = self._node.get_parameter(name).value
        if value == AUTOMATIC:
            return None
        known = {policy.name.lower(): policy for policy in ReliabilityPolicy}
        known.pop("unknown", None)
        if value not in known:
            choices = ", ".join(sorted({AUTOMATIC, *known}))
            raise ValueError(f"reliability {value!r} is none of {choices}")
        return known[value]

    def _subscribe(self) -> Subscription:
        # A profile of its own each time: rclpy writes the user's overrides into it.
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=QUEUE_DEPTH,
            reliability=self._service.reliability,
            durability=self._service.durability,
        )
        try:
            return self._create(qos, message_lost=lambda lost: self._lost(lost.total_count_change))
        except UnsupportedEventTypeError:  # not every middleware tells
            return self._create(qos)

    def _create(
        self, qos: QoSProfile, message_lost: Callable[[LostMessages], None] | None = None
    ) -> Subscription:
        return self._node.create_subscription(
            self._message_type,
            self.topic,
            self._callback,
            qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible, message_lost=message_lost
            ),
            qos_overriding_options=QoSOverridingOptions(
                (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH)
            ),
        )

    def _on_incompatible(self, event: IncompatibleQos) -> None:
        """Say so, unless it is what `follow` is about to mend."""
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        overridden = policy == "RELIABILITY" and self._overrides[self.topic] is not None
        if policy in ("RELIABILITY", "DURABILITY") and not overridden:
            return
        self._node.get_logger().warning(
            f"a publisher of {self.topic} offers another {policy.lower()} than is asked for: none "
            f"of its messages will come; change its QoS, or qos_overrides.{self.topic}.subscription"
        )
