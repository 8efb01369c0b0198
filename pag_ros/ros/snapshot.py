"""The last frame as PNG files, to look at or to send along with a question."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.image.pictures import (
    color_boundary,
    color_computed,
    color_depth,
    color_normals,
    overlay_labels,
)
from pag_ros.ros.outputs import Finished, Style
from pag_ros.writing import write_bytes


def default_folder() -> Path:
    """Beside ROS's logs: pag_ros under $ROS_HOME, else under ~/.ros."""
    home = os.environ.get("ROS_HOME")
    return (Path(home) if home else Path.home() / ".ros") / "pag_ros"


def save_snapshot(frame: Finished, style: Style, folder: Path) -> list[Path]:
    """Write what the frame has, named by its capture time.

    Returns:
        The files: NANOSECONDS_input.png, NANOSECONDS_depth.png ...

    Raises:
        OSError: the folder cannot be written.
    """
    stamp = frame.header.stamp
    prefix = f"{stamp.sec}{stamp.nanosec:09d}"
    files = []
    for name, picture in _pictures(frame, style).items():
        path = folder / f"{prefix}_{name}.png"
        png = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
        write_bytes(path, png, make_folder=True)
        files.append(path)
    return files


def _pictures(frame: Finished, style: Style) -> dict[str, NDArray[np.uint8]]:
    result = frame.result
    pictures = {"input": frame.image}
    if result.depth is not None:
        pictures["depth"] = color_depth(result.depth, *style.depth_range_m)
    if result.normals is not None:
        pictures["normals"] = color_normals(result.normals)
    if result.labels is not None:
        pictures["segmentation"] = overlay_labels(frame.picture, result.labels, style.classes)
    if result.boundary is not None:
        pictures["boundary"] = color_boundary(result.boundary)
    if result.computed is not None:
        pictures["computed"] = color_computed(result.computed, len(result.keep_used))
    return pictures
