"""One reading of CameraInfo: the node and the bags find the same focal length, or refuse alike."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from pag_ros.errors import ImageError
from pag_ros.evaluation.alignment import require_intrinsics
from pag_ros.image.camera_info import (
    Intrinsics,
    calibration_fault,
    focal_length_px,
    intrinsics,
    pixel_scales,
)

FX = 500.0
BAG_TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclass
class Region:
    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0
    do_rectify: bool = False


@dataclass
class Info:
    width: int = 640
    height: int = 480
    binning_x: int = 0
    binning_y: int = 0
    roi: Region = field(default_factory=Region)
    fx: float = FX
    fy: float = FX
    cx: float = 0.0
    cy: float = 0.0

    @property
    def k(self) -> list[float]:
        return [self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0]


def test_an_image_as_announced_has_the_focal_length_of_k() -> None:
    assert focal_length_px(Info(), 640, 480) == FX


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_a_scaled_image_scales_the_focal_length(scale: float) -> None:
    assert focal_length_px(Info(), round(640 * scale), round(480 * scale)) == FX * scale


def test_binning_scales_the_focal_length() -> None:
    assert focal_length_px(Info(binning_x=2, binning_y=2), 320, 240) == FX / 2


def test_binning_of_one_axis_is_no_stretching() -> None:
    info = Info(binning_x=2)
    assert focal_length_px(info, 320, 480) == FX / 2
    assert pixel_scales(info, 320, 480) == (0.5, 1.0)


def test_a_region_of_interest_keeps_the_focal_length() -> None:
    assert focal_length_px(Info(roi=Region(100, 40, 320, 200)), 320, 200) == FX


def test_a_camera_info_without_sizes_tells_only_of_binning() -> None:
    assert focal_length_px(Info(width=0, height=0), 640, 481) == FX
    assert focal_length_px(Info(width=0, height=0, binning_x=4, binning_y=4), 160, 120) == FX / 4


def test_an_uncalibrated_camera_has_no_focal_length_whatever_the_size() -> None:
    assert focal_length_px(Info(fx=0.0), 640, 480) is None
    assert focal_length_px(Info(fx=0.0), 640, 640) is None
    assert calibration_fault(Info(fx=0.0)) == "fx is 0: the camera is not calibrated"


@pytest.mark.parametrize("fx", [-1.0, float("nan"), float("inf"), 31.9, 32_001.0, 1e308, 5e-324])
def test_a_focal_length_that_no_lens_has_is_refused_by_its_value(fx: float) -> None:
    for info in (Info(fx=fx), Info(fx=fx, fy=fx), Info(fx=fx, fy=0.0)):
        with pytest.raises(ImageError, match=f"no calibration: fx is {re.escape(f'{fx:g}')}"):
            focal_length_px(info, 640, 480)


@pytest.mark.parametrize("fx", [32.0, 32_000.0])
def test_lenses_from_the_widest_to_the_longest_are_taken(fx: float) -> None:
    assert focal_length_px(Info(fx=fx, fy=fx), 640, 480) == fx


def test_without_a_width_any_focal_length_that_is_a_number_may_be_right() -> None:
    assert focal_length_px(Info(fx=1e300, fy=0.0, width=0, height=0), 64, 48) == 1e300
    with pytest.raises(ImageError, match="fx is inf"):
        focal_length_px(Info(fx=float("inf"), fy=0.0, width=0, height=0), 64, 48)
    tiny = Info(fx=5e-324, fy=0.0, width=0, height=0, binning_x=4)
    assert focal_length_px(tiny, 64, 48) is None


@pytest.mark.parametrize("size", [(640, 400), (480, 480), (320, 480), (480, 640), (320, 242)])
def test_an_image_of_another_shape_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"for 640x480 pixels, the image has {size[0]}x{size[1]}"):
        focal_length_px(Info(), *size)


def test_a_refusal_tells_the_size_after_region_and_binning() -> None:
    info = Info(roi=Region(0, 0, 320, 200), binning_x=2, binning_y=2)
    with pytest.raises(ImageError, match="for 160x100 pixels, the image has 640x480"):
        focal_length_px(info, 640, 480)


def test_rounding_to_pixels_is_no_other_shape() -> None:
    for size in ((214, 160), (213, 160), (214, 161)):
        assert focal_length_px(Info(), *size) == pytest.approx(FX / 3, rel=0.01)


def test_a_region_moves_the_principal_point_and_binning_and_scale_shrink_it() -> None:
    info = Info(fx=500.0, fy=400.0, cx=330.0, cy=250.0)
    assert intrinsics(info, 640, 480) == Intrinsics(500.0, 400.0, 330.0, 250.0)
    assert intrinsics(info, 320, 240) == Intrinsics(250.0, 200.0, 165.0, 125.0)
    info.roi = Region(100, 40, 320, 200)
    assert intrinsics(info, 320, 200) == Intrinsics(500.0, 400.0, 230.0, 210.0)
    info.binning_x = info.binning_y = 2
    assert intrinsics(info, 160, 100) == Intrinsics(250.0, 200.0, 115.0, 105.0)


def test_a_calibration_with_fx_alone_has_square_pixels() -> None:
    found = intrinsics(Info(fy=0.0, binning_x=2), 320, 480)
    assert found == Intrinsics(FX / 2, FX, 0.0, 0.0)


@pytest.mark.parametrize("fy", [-1.0, float("nan"), float("inf"), FX / 2.01, FX * 2.01])
def test_an_fy_that_does_not_go_with_fx_is_refused(fy: float) -> None:
    with pytest.raises(ImageError, match=f"fx is {FX:g}, fy is {re.escape(f'{fy:g}')}"):
        intrinsics(Info(fy=fy), 640, 480)


@pytest.mark.parametrize("fy", [FX / 2, FX * 2])
def test_a_lens_may_stretch_the_picture_by_two(fy: float) -> None:
    found = intrinsics(Info(fy=fy), 640, 480)
    assert found is not None
    assert found.fy == fy


def test_what_has_no_focal_length_or_no_centre_has_no_intrinsics() -> None:
    assert intrinsics(Info(fx=0.0), 640, 480) is None
    assert intrinsics(Info(cx=float("nan")), 640, 480) is None
    assert intrinsics(Info(cy=float("inf")), 640, 480) is None
    with pytest.raises(ImageError, match="for 640x480 pixels"):
        intrinsics(Info(), 640, 400)


sides = st.integers(32, 4000)
binnings = st.integers(0, 4)
regions = st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(0, 1), st.integers(0, 1))


@given(sides, sides, binnings, binnings, regions, st.floats(0.2, 3.0))
@example(641, 479, 2, 2, (0, 0, 0, 0), 1.0)
def test_node_and_bag_agree_on_every_image_that_was_scaled_alike(
    width: int,
    height: int,
    binning_x: int,
    binning_y: int,
    region: tuple[int, int, int, int],
    scale: float,
) -> None:
    roi = Region(region[0], region[1], region[2] * (width // 2), region[3] * (height // 2))
    info = Info(width, height, binning_x, binning_y, roi)
    seen_x, seen_y = roi.width or width, roi.height or height
    image = (
        max(1, round(scale * seen_x / max(1, binning_x))),
        max(1, round(scale * seen_y / max(1, binning_y))),
    )

    live, offline = focal_length_px(info, *image), offline_focal_length(info, *image)

    assert live == offline == pytest.approx(FX * image[0] / seen_x)


@given(sides, sides, sides, sides, binnings, st.sampled_from([FX, 0.0, float("nan")]))
def test_node_and_bag_refuse_the_same_images(
    width: int, height: int, image_width: int, image_height: int, binning: int, fx: float
) -> None:
    info = Info(width, height, binning, binning, fx=fx)
    try:
        live = focal_length_px(info, image_width, image_height)
    except ImageError as error:
        live = str(error)
    if isinstance(live, float):
        assert offline_focal_length(info, image_width, image_height) == live
    else:
        with pytest.raises(ImageError, match=live or "not calibrated"):
            offline_focal_length(info, image_width, image_height)


def offline_focal_length(info: Info, width: int, height: int) -> float:
    """What a bag's frame gets, from a message as it comes out of a bag."""
    kind = "sensor_msgs/msg/CameraInfo"
    data = BAG_TYPES.serialize_cdr(bag_message(info), kind)
    return require_intrinsics(BAG_TYPES.deserialize_cdr(data, kind), (height, width, 3)).fx


def bag_message(info: Info) -> Any:
    types = BAG_TYPES.types
    stamp = types["builtin_interfaces/msg/Time"](0, 0)
    return types["sensor_msgs/msg/CameraInfo"](
        header=types["std_msgs/msg/Header"](stamp, "camera"),
        height=info.height,
        width=info.width,
        distortion_model="",
        d=np.zeros(0),
        k=np.array(info.k),
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=info.binning_x,
        binning_y=info.binning_y,
        roi=types["sensor_msgs/msg/RegionOfInterest"](**vars(info.roi)),
    )
