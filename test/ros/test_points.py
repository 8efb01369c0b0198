"""Points in space: where a pinhole camera sees them, and the layout that other programs read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import FOCAL_PX, camera_info, fields_of
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from pag_ros.ros.points import points_message as unsent_points

WIDTH, HEIGHT = 4, 3
IMAGE = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3) * 7
DEPTH = np.full((HEIGHT, WIDTH), 2.0, np.float32)
RANGE_M = (0.3, 10.0)
INFO = camera_info(WIDTH, HEIGHT)


def points_message(*parts: Any) -> PointCloud2:
    message = unsent_points(*parts).to_message()
    assert isinstance(message, PointCloud2)
    return message


def test_a_point_projects_into_the_pixel_it_comes_from() -> None:
    depth = DEPTH + np.arange(WIDTH, dtype=np.float32)
    cloud = fields_of(points_message(Header(frame_id="optical"), INFO, IMAGE, depth, RANGE_M))

    np.testing.assert_array_equal(cloud["z"], depth)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_allclose(FOCAL_PX * cloud["x"] / cloud["z"] + INFO.k[2], columns, atol=1e-4)
    np.testing.assert_allclose(FOCAL_PX * cloud["y"] / cloud["z"] + INFO.k[5], rows, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3, 64])
def test_every_nth_pixel_gives_the_point_that_it_gives_among_all(stride: int) -> None:
    depth = DEPTH + np.arange(WIDTH, dtype=np.float32)
    normals = np.arange(HEIGHT * WIDTH * 3, dtype=np.float32).reshape(HEIGHT, WIDTH, 3)
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    parts = (Header(), INFO, IMAGE, depth, RANGE_M, normals, labels)
    message = points_message(*parts, stride)
    assert (message.height, message.width) == (-(-HEIGHT // stride), -(-WIDTH // stride))
    some, all_of_them = fields_of(message), fields_of(points_message(*parts))
    assert set(some) == set(all_of_them)
    for name, values in some.items():
        np.testing.assert_array_equal(values, all_of_them[name][::stride, ::stride], name)


def test_depth_beyond_the_trusted_range_is_no_point() -> None:
    depth = DEPTH.copy()
    depth[0] = [np.nan, 0.2, 11.0, 5.0]
    message = points_message(Header(), INFO, IMAGE, depth, RANGE_M)
    cloud = fields_of(message)

    known = [False, False, False, True]
    for axis in "xyz":
        np.testing.assert_array_equal(np.isfinite(cloud[axis][0]), known)
    assert not message.is_dense


def test_colours_are_packed_as_the_point_cloud_library_does() -> None:
    cloud = fields_of(points_message(Header(), INFO, IMAGE, DEPTH, RANGE_M))
    packed = np.ascontiguousarray(cloud["rgb"]).view(np.uint32)
    colors = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1)
    np.testing.assert_array_equal(colors, IMAGE)


def test_normals_and_labels_are_fields_where_there_are_any() -> None:
    normals = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    normals[..., 2] = -1.0
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    message = points_message(Header(), INFO, IMAGE, DEPTH, RANGE_M, normals, labels)

    assert (message.height, message.width) == (HEIGHT, WIDTH)
    assert (message.point_step, message.row_step) == (32, 32 * WIDTH)
    cloud = fields_of(message)
    np.testing.assert_array_equal(cloud["normal_z"], normals[..., 2])
    np.testing.assert_array_equal(cloud["label"], labels)
    assert cloud["label"].dtype == np.uint32

    bare = points_message(Header(), INFO, IMAGE, DEPTH, RANGE_M)
    assert [field.name for field in bare.fields] == ["x", "y", "z", "rgb"]
