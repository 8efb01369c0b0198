"""Pictures without their lens's distortion: straight lines become straight.

A rectified picture keeps its size and its K, so that the pinhole which K describes is then all
there is to know of the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError, one_line
from pag_ros.image.camera_info import CameraInfo, Intrinsics, calibration_fault

MODELS = {
    "plumb_bob": (4, 5, 8, 12, 14),
    "rational_polynomial": (4, 5, 8, 12, 14),
    "equidistant": (4,),
}
"""Distortion model -> how many coefficients it may have. The first two are one for OpenCV."""

MAX_SIDE = 32_766
"""Pixels; `cv2.remap` counts them in 16 bits."""

BENDS_FROM = 0.05
"""Bend from which `lens_remark` speaks: where the farthest points of a depth image are a twentieth
of its width beside those that the camera saw."""

RECTIFIED_NAME = "image_rect"
"""How topics are called, by ROS convention, whose pictures are rectified; their CameraInfo tells of
the lens nevertheless."""

_Value = TypeVar("_Value", bound=np.generic)


class Distortion(Protocol):
    """The fields of a sensor_msgs/CameraInfo that tell of the lens."""

    distortion_model: str
    d: Sequence[float]


class DistortingCamera(Distortion, CameraInfo, Protocol):
    """All fields of a sensor_msgs/CameraInfo that are read."""


@dataclass(frozen=True)
class Lens:
    """A lens that distorts.

    Attributes:
        model: of `MODELS`.
        coefficients: finite, as many as the model has.
    """

    model: str
    coefficients: tuple[float, ...]


def lens_of(info: Distortion) -> Lens | None:
    """The lens of a camera, or None if it does not distort: no coefficients, or all are zero.

    Raises:
        ImageError: the model is not known, or its coefficients are not what it takes.
    """
    coefficients = tuple(float(value) for value in info.d)
    if not any(coefficients):
        return None
    counts = MODELS.get(info.distortion_model)
    if counts is None:
        raise ImageError(
            f"camera_info has the distortion model '{one_line(info.distortion_model, 40)}'; "
            f"known are {', '.join(MODELS)}"
        )
    if len(coefficients) not in counts:
        expected = " or ".join(map(str, counts))
        raise ImageError(
            f"camera_info has {len(coefficients)} coefficients of {info.distortion_model}, "
            f"expected {expected}"
        )
    if not np.isfinite(coefficients).all():
        raise ImageError("camera_info has distortion coefficients that are no finite numbers")
    return Lens(info.distortion_model, coefficients)


def is_rectified_topic(topic: str) -> bool:
    """Whether pictures of a topic are without distortion, as their name says."""
    return any(part.startswith(RECTIFIED_NAME) for part in topic.split("/"))


def lens_remark(info: DistortingCamera, topic: str) -> str | None:
    """What to say of pictures that are too far from what a pinhole sees; None if they are not.

    Args:
        info: of the camera, calibrated or not.
        topic: of its pictures.
    """
    if is_rectified_topic(topic):
        return None
    try:
        lens = lens_of(info)
    except ImageError as error:
        return str(error)
    if lens is None or calibration_fault(info) or not (info.width and info.height):
        return None
    # Of the whole sensor, as K is, whatever of it the pictures show.
    fx, fy, cx, cy = (float(info.k[i]) for i in (0, 4, 2, 5))
    camera = Intrinsics(fx, fy or fx, cx, cy)
    if not np.isfinite((cx, cy)).all():
        return None
    bend = bend_of(lens, camera, (info.height, info.width))
    if bend < BENDS_FROM:
        return None
    return f"the lens ({lens.model}) bends straight lines by {bend:.0%} of the picture's width"


def bend_of(lens: Lens, camera: Intrinsics, shape: tuple[int, int]) -> float:
    """How far the farthest point of a picture's border is from where a pinhole would see it.

    Args:
        camera: in pixels of the picture.
        shape: (h, w) of it.

    Returns:
        In widths of the picture; infinite where a pinhole would not see it at all.
    """
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    border = [(x, y) for x in (0.0, right / 2, right) for y in (0.0, bottom / 2, bottom)]
    seen = np.array(border).reshape(-1, 1, 2)
    shift = np.linalg.norm(_straightened(lens, camera, seen) - seen, axis=-1).max() / shape[1]
    return float(shift) if shift <= 1.0 else float("inf")


class Undistortion:
    """Takes the distortion out of what one camera saw, and puts it back in."""

    def __init__(self, lens: Lens, camera: Intrinsics, shape: tuple[int, int]) -> None:
        """Prepare for pictures.

        Args:
            camera: of these pictures, before and after.
            shape: (h, w) of them.

        Raises:
            ImageError: they are too large to be rectified.
        """
        if max(shape) > MAX_SIDE:
            size = f"{shape[1]}x{shape[0]}"
            raise ImageError(f"{size} pixels cannot be rectified, at most {MAX_SIDE} a side")
        self._lens = lens
        self._camera = camera
        self._shape = shape

    def rectify_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture [h,w,3] without distortion, interpolated; black where it shows nothing."""
        x, y = _rectifying_map(self._lens, self._camera, self._shape)
        return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR), np.uint8)

    def rectify_truth(self, truth: NDArray[_Value], unknown: float) -> NDArray[_Value]:
        """A map [h,w] or [h,w,C] without distortion, by nearest pixels.

        Args:
            unknown: where the map tells of nothing.
        """
        return _sampled(truth, _rectifying_map(self._lens, self._camera, self._shape), unknown)

    def distort_truth(self, truth: NDArray[_Value], unknown: float) -> NDArray[_Value]:
        """The opposite of `rectify_truth`: a map of what a pinhole sees, as the lens shows it."""
        return _sampled(truth, _distorting_map(self._lens, self._camera, self._shape), unknown)


# Two of each: of a colour camera and of a depth camera. They are 8 bytes a pixel.
@lru_cache(maxsize=2)
def _rectifying_map(
    lens: Lens, camera: Intrinsics, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[h,w] x and y in the picture as it was taken, of each pixel of the rectified one."""
    k, d, size = _matrix(camera), np.array(lens.coefficients), (shape[1], shape[0])
    if lens.model == "equidistant":
        x, y = cv2.fisheye.initUndistortRectifyMap(k, d, np.eye(3), k, size, cv2.CV_32FC1)
    else:
        x, y = cv2.initUndistortRectifyMap(k, d, np.eye(3), k, size, cv2.CV_32FC1)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


@lru_cache(maxsize=2)
def _distorting_map(
    lens: Lens, camera: Intrinsics, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[h,w] x and y in the rectified picture, of each pixel of the one as it is taken."""
    seen = np.zeros((shape[1], 1, 2))
    seen[:, 0, 0] = np.arange(shape[1])
    straight = np.empty((*shape, 2), np.float32)
    for row in range(shape[0]):
        seen[:, 0, 1] = row
        straight[row] = _straightened(lens, camera, seen)[:, 0]
    return straight[..., 0], straight[..., 1]


def _straightened(lens: Lens, camera: Intrinsics, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a pinhole would see what the lens shows at some pixels [n,1,2]."""
    k, d = _matrix(camera), np.array(lens.coefficients)
    undistort = cv2.fisheye.undistortPoints if lens.model == "equidistant" else cv2.undistortPoints
    return np.asarray(undistort(seen, k, d, R=np.eye(3), P=k), np.float64)


def _matrix(camera: Intrinsics) -> NDArray[np.float64]:
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float64)


def _sampled(
    truth: NDArray[_Value],
    places: tuple[NDArray[np.float32], NDArray[np.float32]],
    unknown: float,
) -> NDArray[_Value]:
    """Of each place the nearest pixel."""
    with np.errstate(invalid="ignore"):
        columns, rows = (np.floor(place + np.float32(0.5)) for place in places)
        inside = (columns >= 0) & (columns < truth.shape[1]) & (rows >= 0) & (rows < truth.shape[0])
    result = np.full((*columns.shape, *truth.shape[2:]), unknown, truth.dtype)
    result[inside] = truth[rows[inside].astype(np.int64), columns[inside].astype(np.int64)]
    return result
