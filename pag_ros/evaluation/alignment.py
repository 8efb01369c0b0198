"""Recorded depth, brought to the view of the image it belongs to; or what is missing for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError, one_line
from pag_ros.evaluation.registration import register_depth
from pag_ros.image.camera_info import CameraInfo, Intrinsics, intrinsics
from pag_ros.image.rectification import Lens, Undistortion, is_rectified_topic, lens_of
from pag_ros.image.transforms import FrameTree

UNKNOWN = float("nan")
SAME_FOCAL = 2e-3
"""Share by which the focal lengths of one view may differ: half a pixel at the edge of 640."""

SAME_CENTRE_PX = 1.0
"""Pixels, of the coarser picture, by which its centres may: scaling is rounded in several ways."""


class Calibration(CameraInfo, Protocol):
    """The fields of a sensor_msgs/CameraInfo that are read here."""

    header: Any
    distortion_model: str
    d: Sequence[float]


@dataclass(frozen=True)
class CameraView:
    """What a picture shows.

    Attributes:
        frame_id: of its header, without a slash before it.
        shape: (h, w).
        camera: in pixels of this picture.
        info: of the camera.
        is_rectified: whether the distortion that `info` tells of has been undone.
    """

    frame_id: str
    shape: tuple[int, int]
    camera: Intrinsics
    info: Calibration
    is_rectified: bool = False

    @property
    def lens(self) -> Lens | None:
        """The lens that distorts the picture; None if none does.

        Raises:
            ImageError: see `lens_of`.
        """
        return None if self.is_rectified else lens_of(self.info)

    @property
    def undistortion(self) -> Undistortion | None:
        """The way from the picture to what a pinhole sees, and back; None if it is one.

        Raises:
            ImageError: the distortion is of a kind that is not known.
        """
        lens = self.lens
        return None if lens is None else Undistortion(lens, self.camera, self.shape)


@dataclass(frozen=True)
class AlignedDepth:
    """Depth at an image's size.

    Attributes:
        depth: [h,w] float32 metres, NaN unknown.
        how: what had to be done, for people; empty for nothing.
        is_rectified: whether it is as a pinhole sees it, and not as the image's lens shows it.
    """

    depth: NDArray[np.float32]
    how: str = ""
    is_rectified: bool = False


def view_of(shape: Sequence[int], frame_id: str, info: Calibration, topic: str) -> CameraView:
    """What a picture [h,w,...] of a topic shows, by its header and its CameraInfo.

    Raises:
        ImageError: see `require_intrinsics`.
    """
    camera = require_intrinsics(info, shape)
    return CameraView(
        frame_id.removeprefix("/"), (shape[0], shape[1]), camera, info, is_rectified_topic(topic)
    )


def align_depth(
    depth: NDArray[np.float32], view: CameraView, image: CameraView, frames: FrameTree
) -> AlignedDepth:
    """Bring depth that is not of the image's size and frame to the image.

    It is registered, unless both cameras show the same, but for the size perhaps.

    Args:
        depth: [h,w] float32 metres, NaN unknown.
        view: of the depth.
        image: what to bring it to.
        frames: that tell where the depth camera is.

    Raises:
        ImageError: it cannot be done; the text says what is missing.
    """
    same_frame = view.frame_id == image.frame_id
    if _shows_the_same(view, image) and (
        same_frame
        or view.info.header.frame_id.removeprefix("/") == image.frame_id
        or (view.shape == image.shape and not frames.are_joined(view.frame_id, image.frame_id))
    ):
        return scale_depth(depth, image.shape)
    if same_frame:
        how = f"registered without a transform, both are of {_shown(image.frame_id)}"
        return _registered(depth, view, image, np.eye(4), how)
    transform = _transform(view, image, frames)
    how = f"registered from {_shown(view.frame_id)} to {_shown(image.frame_id)}"
    return _registered(depth, view, image, transform, how)


def scale_depth(depth: NDArray[np.float32], shape: tuple[int, int]) -> AlignedDepth:
    """Depth of the image's view, by nearest pixels at its size `shape` (h, w)."""
    if depth.shape == shape:
        return AlignedDepth(depth)
    rows, columns = (
        (2 * np.arange(size) + 1) * depth.shape[axis] // (2 * size)
        for axis, size in enumerate(shape)
    )
    how = f"brought from {depth.shape[1]}x{depth.shape[0]} to the image's size by nearest pixels"
    return AlignedDepth(depth[rows[:, None], columns], how)


def require_intrinsics(info: CameraInfo, shape: Sequence[int]) -> Intrinsics:
    """The pinhole of a picture [h,w,...].

    Raises:
        ImageError: the camera is not calibrated, or the picture not of what `info` describes.
    """
    camera = intrinsics(info, shape[1], shape[0])
    if camera is None:
        k = ", ".join(f"{name} = {info.k[i]:g}" for name, i in (("fx", 0), ("cx", 2), ("cy", 5)))
        raise ImageError(f"camera_info has {k}: the camera is not calibrated")
    return camera


def is_scaled(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two sizes (h, w) have exactly one shape."""
    return one[0] * other[1] == one[1] * other[0]


def _transform(view: CameraView, image: CameraView, frames: FrameTree) -> NDArray[np.float64]:
    try:
        return frames.between(view.frame_id, image.frame_id)
    except ImageError as error:
        as_it_is = "; --depth-camera-info-topic none takes it as it is"
        raise ImageError(
            f"depth of another camera cannot be registered: {error}"
            + (as_it_is if view.shape == image.shape else "")
        ) from error


def _registered(
    depth: NDArray[np.float32],
    view: CameraView,
    image: CameraView,
    transform: NDArray[np.float64],
    how: str,
) -> AlignedDepth:
    if (undistortion := view.undistortion) is not None:
        depth = undistortion.rectify_truth(depth, UNKNOWN)
    moved = register_depth(depth, view.camera, image.camera, image.shape, transform)
    if np.isnan(moved).all() and not np.isnan(depth).all():
        raise ImageError(f"not one pixel of it falls into the image when {how}")
    return AlignedDepth(moved, how, is_rectified=True)


def _shows_the_same(depth: CameraView, image: CameraView) -> bool:
    """Whether one picture is the other one at another size."""
    if not is_scaled(depth.shape, image.shape) or _distortion(depth) != _distortion(image):
        return False
    scale = image.shape[1] / depth.shape[1]
    tolerance = SAME_CENTRE_PX * max(1.0, scale)
    one, other = depth.camera, image.camera
    return (
        abs(one.fx * scale / other.fx - 1.0) <= SAME_FOCAL
        and abs(one.fy * scale / other.fy - 1.0) <= SAME_FOCAL
        and abs(one.cx * scale - other.cx) <= tolerance
        and abs(one.cy * scale - other.cy) <= tolerance
    )


def _distortion(view: CameraView) -> tuple[Any, ...]:
    """Model and coefficients, whether they are known here or not; empty where nothing distorts."""
    if view.is_rectified or not any(view.info.d):
        return ()
    return (view.info.distortion_model, *view.info.d)


def _shown(frame_id: str) -> str:
    """A frame_id for people."""
    return one_line(frame_id, 100) or "''"
