"""Compressed outputs come out of the decoders as what went in."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import picture
from std_msgs.msg import Header

from pag_ros.image.decode import to_depth, to_labels, to_rgb
from pag_ros.ros.compression import compressed_depth_message, jpeg_message, png_message
from pag_ros.ros.messages import depth_message, image_message

HEADER = Header(frame_id="optical")
RANGE_M = (0.3, 10.0)


def test_a_picture_as_jpeg_is_nearly_the_same() -> None:
    pixels = picture(64, 48)
    message = jpeg_message(image_message(HEADER, pixels, "rgb8")).to_message()
    assert (message.header, message.format) == (HEADER, "rgb8; jpeg compressed bgr8")
    assert len(message.data) < pixels.nbytes
    assert np.abs(to_rgb(message).astype(int) - pixels).mean() < 6.0


def test_a_map_as_png_is_exactly_the_same() -> None:
    labels = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    message = png_message(image_message(HEADER, labels, "mono8")).to_message()
    assert message.format == "mono8; png compressed mono8"
    np.testing.assert_array_equal(to_labels(message), labels)


def test_depth_in_millimetres_is_exactly_the_same() -> None:
    depth = np.random.default_rng(0).uniform(0.3, 12.0, (48, 64)).astype(np.float32)
    raw = depth_message(HEADER, depth, "16UC1", *RANGE_M)
    message = compressed_depth_message(raw, RANGE_M[1]).to_message()
    assert message.format == "16UC1; compressedDepth png"
    np.testing.assert_array_equal(to_depth(message), to_depth(raw.to_message()))


def test_depth_in_metres_keeps_a_thousandth_and_knows_what_is_not_known() -> None:
    depth = np.geomspace(0.31, 10.0, 64, dtype=np.float32).repeat(3).reshape(3, 64).copy()
    depth[0, :3] = np.nan, 0.1, 11.0
    raw = depth_message(HEADER, depth, "32FC1", *RANGE_M)
    message = compressed_depth_message(raw, RANGE_M[1]).to_message()
    assert message.format == "32FC1; compressedDepth png"
    found = to_depth(message)
    assert np.isnan(found[0, :3]).all()
    known = ~np.isnan(to_depth(raw.to_message()))
    assert known.sum() == depth.size - 3
    np.testing.assert_allclose(found[known], depth[known], rtol=1e-3)


def test_what_is_nearer_than_the_numbers_reach_is_unknown() -> None:
    near = np.full((2, 2), 0.1, np.float32)
    raw = depth_message(HEADER, near, "32FC1", 0.05, 10.0)
    assert np.isnan(to_depth(compressed_depth_message(raw, 10.0).to_message())).all()
