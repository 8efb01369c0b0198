"""Where a camera's pictures and calibration are found, as users of image_transport expect it.

Compressed pictures are on /compressed below the topic that a user names, the calibration is on
camera_info beside it; free of ROS.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

COMPRESSED = "/compressed"


def picture_topics(base: str, compressed: bool) -> tuple[str, ...]:
    """The topics that pictures may come on, the likeliest first.

    Args:
        base: the topic that the user names, in full.
        compressed: whether sensor_msgs/CompressedImage is wanted.
    """
    if not compressed or base.endswith(COMPRESSED):
        return (base,)
    return (base + COMPRESSED, base)


def calibration_topic(base: str) -> str:
    """The topic of a camera's CameraInfo, beside that of its pictures."""
    return base.removesuffix(COMPRESSED).rpartition("/")[0] + "/camera_info"


def choose_topic(topics: Sequence[str], current: str, published: Collection[str]) -> str:
    """The topic to listen to: the present one, unless only another one has publishers."""
    if current in published:
        return current
    return next((topic for topic in topics if topic in published), current)
