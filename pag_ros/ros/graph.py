"""What the graph of topics and nodes tells: where a calibration is, and who else has pictures."""

from __future__ import annotations

from rclpy.node import Node

from pag_ros.ros.input_topics import calibration_topic
from pag_ros.ros.publishers import topic_of

_PICTURE_TYPES = {
    "sensor_msgs/msg/Image": "Image",
    "sensor_msgs/msg/CompressedImage": "CompressedImage",
}


def find_calibration_topic(node: Node, camera: str, image_base: str) -> str:
    """The full name of the topic of a camera's CameraInfo.

    That which it is remapped to; else the one beside the pictures, where drivers publish it.

    Args:
        camera: its name, see `topic_of`.
        image_base: the full name of the topic of its pictures.
    """
    topic = topic_of(camera, "camera_info")
    resolved = str(node.resolve_topic_name(topic))
    if resolved != node.resolve_topic_name(topic, only_expand=True):
        return resolved
    return calibration_topic(image_base)


def pictures_of_others(node: Node) -> list[str]:
    """Topics on which other nodes publish pictures: "/camera/image_raw (Image)"."""
    found = []
    own = (node.get_namespace(), node.get_name())
    for topic, types in sorted(node.get_topic_names_and_types()):
        publishers = node.get_publishers_info_by_topic(topic)
        if any((each.node_namespace, each.node_name) != own for each in publishers):
            kinds = sorted(set(types) & _PICTURE_TYPES.keys())
            found += [f"{topic} ({_PICTURE_TYPES[kind]})" for kind in kinds]
    return found
