"""Where the node's cameras are above the ground, as /tf and /tf_static tell."""

from __future__ import annotations

import threading
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from pag_ros.errors import ImageError, ParameterError
from pag_ros.image.transforms import FrameTree
from pag_ros.ros.logger import Logger
from pag_ros.ros.remedies import WARN_EVERY_S
from pag_ros.runtime.floor_scale import Mount

_QUEUE_DEPTH = 100
"""As in tf2: a robot has some ten publishers of transforms."""


class GroundFrame:
    """The frame on the ground that heights are measured from, z up; thread-safe.

    Transforms count as they were told last: what a camera moves between a picture and the newest
    transforms is left aside.

    Args:
        name: of the frame, e.g. base_footprint.
        logger: that is told of transforms that cannot be used.
    """

    def __init__(self, name: str, logger: Logger) -> None:
        self._name = name
        self._logger = logger
        self._lock = threading.Lock()
        self._frames = FrameTree("/tf or /tf_static")

    def mount_of(self, camera_frame: str) -> Mount:
        """Where a camera is.

        Args:
            camera_frame: its optical frame, the frame_id of its pictures.

        Raises:
            ImageError: no transforms join the two frames, or the camera is not above the ground.
        """
        with self._lock:
            to_ground = self._frames.between(camera_frame, self._name)
        return Mount.on_ground(to_ground)

    def enter(self, message: Any) -> None:
        """Take note of a tf2_msgs/TFMessage, whose type pip cannot install."""
        for transform in message.transforms:
            try:
                with self._lock:
                    self._frames.add(transform)
            except ImageError as error:
                self._logger.warning(f"/tf: {error}", throttle_duration_sec=WARN_EVERY_S)

    def subscribe(self, node: Node) -> list[Any]:
        """Listen to the transforms; returns the subscriptions.

        Raises:
            ParameterError: the type of their messages is not installed.
        """
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise ParameterError(
                "ground_frame needs the ROS package tf2_msgs, which is not installed (with apt: "
                "ros-$ROS_DISTRO-tf2-msgs); or set camera_height and camera_pitch instead"
            ) from error
        moving, static = (
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=_QUEUE_DEPTH,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=durability,
            )
            for durability in (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
        )
        return [
            node.create_subscription(TFMessage, topic, self.enter, qos)
            for topic, qos in (("/tf", moving), ("/tf_static", static))
        ]
