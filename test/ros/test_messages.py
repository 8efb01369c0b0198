"""Arrays to messages: REP-117, REP-118, and CameraInfo under scaling, binning and regions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from ros_client import FOCAL_PX, camera_info, pixels_of
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from pag_ros.image.camera_info import focal_length_px
from pag_ros.image.headroom import ROOM, empty_with_room
from pag_ros.manifest import LabelClass
from pag_ros.ros.camera_info import camera_info_for
from pag_ros.ros.compression import png_message
from pag_ros.ros.messages import (
    depth_message,
    image_message,
    key_values,
    labels_json,
    share_message,
)
from pag_ros.ros.points import points_message

DEPTH = np.array([[np.nan, 0.1, 0.3, 5.0004, 10.0, 11.0]], np.float32)


def test_depth_in_metres_tells_near_far_and_unknown_apart() -> None:
    message = depth_message(Header(), DEPTH, "32FC1", 0.3, 10.0)
    expected = np.array([[np.nan, -np.inf, 0.3, 5.0004, 10.0, np.inf]], np.float32)
    np.testing.assert_array_equal(pixels_of(message.to_message()), expected)
    assert np.isfinite(DEPTH[0, 1:]).all(), "the caller's array is its own"


def test_depth_in_millimetres_is_rounded_and_zero_where_unknown() -> None:
    message = depth_message(Header(), DEPTH, "16UC1", 0.3, 100.0)
    np.testing.assert_array_equal(
        pixels_of(message.to_message()), [[0, 0, 300, 5000, 10000, 11000]]
    )
    too_far = depth_message(Header(), np.full((1, 1), 70.0, np.float32), "16UC1", 0.3, 100.0)
    assert pixels_of(too_far.to_message()) == 0


def test_a_view_of_a_larger_array_becomes_a_tight_image() -> None:
    pixels = np.arange(48, dtype=np.float32).reshape(4, 4, 3)[:, 1:3]
    message = image_message(Header(frame_id="camera"), pixels, "32FC3").to_message()
    assert (message.height, message.width, message.step) == (4, 2, 24)
    assert message.header.frame_id == "camera"
    np.testing.assert_array_equal(pixels_of(message), pixels)


def test_shares_fill_eight_bits() -> None:
    message = share_message(Header(), np.array([[0.0, 0.5, 1.0]], np.float32))
    np.testing.assert_array_equal(pixels_of(message.to_message()), [[0, 128, 255]])


@pytest.mark.parametrize("frame_id", ["", "camera", "front_optical_frame"])
@pytest.mark.parametrize("kind", ["pixels", "shares", "png", "points", "labelled points"])
@pytest.mark.parametrize("width", [1, 3, 4, 5])
def test_a_message_is_serialized_as_rclpy_does_it(kind: str, width: int, frame_id: str) -> None:
    header = Header(frame_id=frame_id, stamp=Time(sec=3, nanosec=7))
    depth = np.linspace(0.3, 9.0, 3 * width, dtype=np.float32).reshape(3, width)
    labels, colors = depth.astype(np.uint8), np.zeros((3, width, 3), np.uint8)
    cloud = (header, camera_info(width, 3), colors, depth, (0.3, 10.0), None)
    message = {
        "pixels": lambda: image_message(header, depth, "32FC1"),
        "shares": lambda: share_message(header, depth / 9.0),
        "png": lambda: png_message(image_message(header, labels, "mono8")),
        "points": lambda: points_message(*cloud),
        "labelled points": lambda: points_message(*cloud, labels),
    }[kind]()
    serialized = bytes(message.serialize())
    by_rclpy = message.to_message()
    # Not byte for byte: what aligns a field is any byte that was there.
    assert len(serialized) == len(serialize_message(by_rclpy))
    whole = deserialize_message(serialized, type(by_rclpy))
    assert whole == by_rclpy
    assert bytes(whole.data) == message.content.tobytes()
    assert message.to_message() == by_rclpy
    assert len(message.serialize()) == len(serialized)


@pytest.mark.parametrize("frame_id", ["camera", "x" * 3 * ROOM])
def test_a_message_is_made_around_an_array_with_room(frame_id: str) -> None:
    pixels = empty_with_room((3, 5, 3), np.float32)
    pixels[...] = np.arange(45, dtype=np.float32).reshape(3, 5, 3)
    kept = pixels.copy()
    message = image_message(Header(frame_id=frame_id), pixels, "32FC3")
    copied = image_message(Header(frame_id=frame_id), kept, "32FC3")
    serialized = message.serialize()
    assert isinstance(serialized, memoryview) == (len(frame_id) < ROOM)
    whole = deserialize_message(bytes(serialized), Image)
    assert whole == deserialize_message(bytes(copied.serialize()), Image)
    assert np.array_equal(pixels, kept)

    other = image_message(Header(frame_id="other"), pixels, "32FC3")
    assert deserialize_message(bytes(other.serialize()), Image).header.frame_id == "other"


@pytest.mark.parametrize("frame_id", ["camera", "x" * 3 * ROOM])
def test_a_field_behind_the_array_is_behind_it(frame_id: str) -> None:
    depth, colors = np.ones((3, 5), np.float32), np.zeros((3, 5, 3), np.uint8)
    header = Header(frame_id=frame_id)
    cloud = points_message(header, camera_info(5, 3), colors, depth, (0.3, 10.0), None)
    cloud.fields.is_dense = True
    serialized = cloud.serialize()
    assert isinstance(serialized, memoryview) == (len(frame_id) < ROOM)
    assert deserialize_message(bytes(serialized), PointCloud2) == cloud.to_message()


def test_labels_as_json_have_ids_names_and_colors() -> None:
    labels = json.loads(
        labels_json([LabelClass("wall", (1, 2, 3)), LabelClass("floor", (4, 5, 6))])
    )
    assert labels["classes"][1] == {"id": 1, "name": "floor", "color": [4, 5, 6]}
    assert labels["unlabelled"] == 255


def test_unknown_figures_are_not_zero() -> None:
    values = {v.key: v.value for v in key_values({"rate": None, "share": 1 / 3, "count": 7})}
    assert values == {"rate": "n/a", "share": "0.333333", "count": "7"}


def test_without_scaling_the_camera_info_is_the_same_but_for_its_header() -> None:
    info = camera_info(640, 480)
    header = Header(frame_id="camera")
    twin = camera_info_for(info, header, 640, 480)
    assert twin.header == header
    twin.header = info.header
    assert twin == info


def test_scaling_scales_k_and_p() -> None:
    twin = camera_info_for(camera_info(640, 480), Header(), 320, 120)
    assert (twin.width, twin.height) == (320, 120)
    np.testing.assert_allclose(
        twin.k.reshape(3, 3), [[FOCAL_PX / 2, 0, 160], [0, FOCAL_PX / 4, 60], [0, 0, 1]]
    )
    np.testing.assert_allclose(twin.p.reshape(3, 4)[:, :3], twin.k.reshape(3, 3))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(100, 640), st.integers(0, 320))
def test_the_twin_has_the_focal_length_that_the_network_was_given(
    binning: int, times: int, region_width: int, x_offset: int
) -> None:
    info = camera_info(1280, 960, 1000.0)
    info.binning_x = info.binning_y = binning
    info.roi.x_offset, info.roi.width, info.roi.height = x_offset, region_width, region_width
    side = max(1, times * region_width // binning)
    twin = camera_info_for(info, Header(), side, side)
    assert twin.k[0] == twin.p[0] == focal_length_px(info, side, side)
    assert focal_length_px(twin, side, side) == twin.k[0], "the twin describes itself"


def test_binning_halves_the_focal_length_of_the_twin() -> None:
    info = camera_info(640, 480)
    info.binning_x = info.binning_y = 2
    assert camera_info_for(info, Header(), 320, 240).k[0] == FOCAL_PX / 2


def test_a_region_of_interest_moves_the_centre_and_keeps_the_focal_length() -> None:
    info = camera_info(640, 480)
    info.roi.x_offset, info.roi.y_offset = 100, 40
    info.roi.width, info.roi.height = 320, 240
    twin = camera_info_for(info, Header(), 320, 240)
    assert twin.k[0] == FOCAL_PX
    assert (twin.k[2], twin.k[5]) == (320 - 100, 240 - 40)
