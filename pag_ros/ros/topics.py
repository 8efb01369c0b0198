"""Topics on which the node publishes the network's outputs as they are; free of ROS."""

from __future__ import annotations

from collections.abc import Mapping

MAP_TOPICS: Mapping[str, str] = {
    "depth": "depth/image",
    "normals": "normals/image",
    "labels": "segmentation/mask",
    "confidence": "segmentation/confidence",
    "boundary": "boundary/image",
    "computed": "computed/image",
}
"""Name in `pag_ros.runtime.outputs` -> topic, relative to the camera's name."""
