"""Where the frames of a robot are relative to one another, as its transforms tell; no ROS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError, one_line

MAX_FRAMES = 10_000
"""Of a robot; more come from damage."""

MAX_DISTANCE_M = 1e7
"""Between a frame and its parent: maps count metres from the equator."""

_MAX_NAME_CHARS = 200


class FrameTree:
    """A tree of frames, as they were told last: every frame has one parent.

    Args:
        topics: where the transforms come from, for messages.
    """

    def __init__(self, topics: str = "/tf_static") -> None:
        self._topics = topics
        self._parents: dict[str, tuple[str, NDArray[np.float64]]] = {}

    def add(self, stamped: Any) -> None:
        """Enter a geometry_msgs/TransformStamped: its child's place in its parent.

        Told anew, a frame has moved.

        Raises:
            ImageError: the numbers are no place and no rotation, or there are too many frames.
        """
        parent, child = _frame(stamped.header.frame_id), _frame(stamped.child_frame_id)
        if len(self._parents) >= MAX_FRAMES and child not in self._parents:
            raise ImageError(f"more than {MAX_FRAMES} frames")
        try:
            self._parents[child] = parent, _matrix(stamped.transform)
        except ImageError as error:
            raise ImageError(f"transform {_names(parent, child)} {error}") from error

    def between(self, source: str, target: str) -> NDArray[np.float64]:
        """[4,4] float64 that takes points of one frame to another one, through what joins them.

        Raises:
            ImageError: nothing does, or the parents go round in a circle.
        """
        source, target = _frame(source), _frame(target)
        way_up = dict(self._ancestors(source))
        for frame, from_target in self._ancestors(target):
            if frame in way_up:
                return _inverse(from_target) @ way_up[frame]
        raise ImageError(f"no transform {_names(source, target)} in {self._topics}")

    def are_joined(self, one: str, other: str) -> bool:
        """Whether `between` knows a way."""
        try:
            self.between(one, other)
        except ImageError:
            return False
        return True

    def _ancestors(self, frame: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """A frame, its parent and so on, with the transform from the frame to each."""
        matrix = np.eye(4)
        yield frame, matrix
        seen = {frame}
        while frame in self._parents:
            frame, step = self._parents[frame]
            if frame in seen:
                raise ImageError(
                    f"the frames in {self._topics} go round in a circle at {_shown(frame)}"
                )
            seen.add(frame)
            matrix = step @ matrix
            yield frame, matrix


def _matrix(transform: Any) -> NDArray[np.float64]:
    """[4,4] from the child to its parent; raises ImageError where there is none."""
    place, turn = transform.translation, transform.rotation
    shift = np.array([place.x, place.y, place.z], np.float64)
    if not np.isfinite(shift).all() or np.abs(shift).max() > MAX_DISTANCE_M:
        raise ImageError(f"has a translation that is not within {MAX_DISTANCE_M:g} m")
    length = math.hypot(turn.x, turn.y, turn.z, turn.w)
    if not math.isfinite(length) or length < 1e-6:
        raise ImageError("has a rotation that is none: its quaternion is not finite, or zero")
    x, y, z, w = (value / length for value in (turn.x, turn.y, turn.z, turn.w))
    matrix = np.eye(4)
    matrix[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    matrix[:3, 3] = shift
    return matrix


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a rotation and a translation."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def _frame(name: str) -> str:
    """A frame_id without the slash that ROS 1 began it with."""
    return name.removeprefix("/")


def _names(one: str, other: str) -> str:
    return f"{_shown(one)} -> {_shown(other)}"


def _shown(name: str) -> str:
    return one_line(name, _MAX_NAME_CHARS) or "''"
