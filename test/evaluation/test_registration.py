"""Depth of one camera lies where another one sees the same points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pag_ros.errors import ImageError
from pag_ros.evaluation import registration
from pag_ros.evaluation.registration import register_depth
from pag_ros.image.camera_info import Intrinsics

CAMERA = Intrinsics(40.0, 42.0, 15.5, 11.0)
SHAPE = (24, 32)


def moved(x=0.0, y=0.0, z=0.0, rotation=None):
    """A transform by metres and a rotation [3,3]."""
    transform = np.eye(4)
    transform[:3, 3] = x, y, z
    if rotation is not None:
        transform[:3, :3] = rotation
    return transform


def turned(axis, angle):
    """A rotation about x, y or z by radians."""
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    rotation[[a, b], [a, b]] = math.cos(angle)
    rotation[a, b], rotation[b, a] = -math.sin(angle), math.sin(angle)
    return rotation


def scaled(camera, factor):
    return Intrinsics(*(factor * value for value in (camera.fx, camera.fy, camera.cx, camera.cy)))


def inner(depth, margin):
    return depth[margin:-margin, margin:-margin]


def seen_plane(camera, shape, normal, distance):
    """Depth [h,w] of the plane normal . p = distance."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    return (distance / (normal[0] * x + normal[1] * y + normal[2])).astype(np.float32)


depths = st.integers(0, 2**32 - 1).map(
    lambda seed: np.where(
        (noise := np.random.default_rng(seed)).random(SHAPE) < 0.3,
        np.nan,
        noise.uniform(0.3, 8.0, SHAPE),
    ).astype(np.float32)
)


@given(depths)
def test_the_same_camera_sees_the_same_depth(depth):
    found = register_depth(depth, CAMERA, CAMERA, SHAPE, np.eye(4))
    np.testing.assert_array_equal(found, depth)


@given(st.integers(0, 23), st.integers(0, 31), st.floats(0.5, 8.0), st.floats(-0.2, 0.2))
def test_a_point_lies_where_the_other_camera_sees_it(row, column, depth_m, shift):
    depth = np.full(SHAPE, np.nan, np.float32)
    depth[row, column] = depth_m
    target = Intrinsics(30.0, 31.0, 20.0, 18.0)
    transform = moved(shift, -shift, shift / 2, turned("y", shift))
    found = register_depth(depth, CAMERA, target, (36, 40), transform)

    ray = [(column - CAMERA.cx) / CAMERA.fx, (row - CAMERA.cy) / CAMERA.fy, 1.0]
    x, y, z = transform[:3, :3] @ (np.float32(depth_m) * np.array(ray)) + transform[:3, 3]
    u, v = target.fx * x / z + target.cx, target.fy * y / z + target.cy
    for at_row, at_column in np.argwhere(np.isfinite(found)):
        assert found[at_row, at_column] == pytest.approx(z, rel=1e-6)
        assert max(abs(at_row - v), abs(at_column - u)) <= 1.5
    if 1 < u < 38 and 1 < v < 34:
        assert np.isfinite(found[round(v), round(u)])


@given(
    st.floats(1.0, 6.0),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(-0.1, 0.1),
    st.floats(-math.pi, math.pi),
)
@example(3.7, 0.0, 0.0, 0.0, math.pi / 4)
@settings(max_examples=60)
def test_a_plane_stays_the_same_plane_without_holes(factor, slope_x, slope_y, shift, roll):
    normal, distance = np.array([slope_x, slope_y, 1.0]), 2.0
    depth = seen_plane(CAMERA, SHAPE, normal, distance)
    middle = Intrinsics(CAMERA.fx, CAMERA.fy, 15.5, 11.5)
    target = scaled(middle, factor)
    shape = (round(24 * factor), round(32 * factor))
    transform = moved(shift, shift, 0.0, turned("z", roll))
    found = register_depth(depth, CAMERA, target, shape, transform)

    new_normal = transform[:3, :3] @ normal
    expected = seen_plane(target, shape, new_normal, distance + new_normal @ transform[:3, 3])
    # Whatever the roll, the middle half of the smaller side was seen by both cameras.
    size = round(24 * factor / 4)
    rows = slice(shape[0] // 2 - size // 2, shape[0] // 2 + size // 2 + 1)
    columns = slice(shape[1] // 2 - size // 2, shape[1] // 2 + size // 2 + 1)
    np.testing.assert_allclose(found[rows, columns], expected[rows, columns], rtol=0.04)


def test_the_nearest_surface_wins_whatever_the_order():
    for near, far in (((5, 10), (5, 20)), ((5, 20), (5, 10))):
        depth = np.full(SHAPE, np.nan, np.float32)
        depth[near], depth[far] = 1.0, 5.0
        # The camera moves so that both points fall on one column: x shifts by fx t / z pixels.
        gap = (far[1] - near[1]) * 5.0 / 4.0 / CAMERA.fx
        found = register_depth(depth, CAMERA, CAMERA, SHAPE, moved(x=gap))
        column = round(near[1] + CAMERA.fx * gap)
        assert found[5, column] == 1.0
        assert np.count_nonzero(found == 5.0) == 0


def test_blocks_of_rows_make_no_difference(monkeypatch):
    depth = np.random.default_rng(1).uniform(0.5, 5.0, SHAPE).astype(np.float32)
    arguments = (CAMERA, scaled(CAMERA, 1.6), (40, 52), moved(0.1, -0.1, 0.05))
    whole = register_depth(depth, *arguments)
    monkeypatch.setattr(registration, "_BLOCK_PIXELS", 70)
    np.testing.assert_array_equal(register_depth(depth, *arguments), whole)


def test_what_the_first_camera_did_not_see_stays_unknown():
    depth = np.full(SHAPE, 4.0, np.float32)
    depth[:, 10:16] = 1.0
    found = register_depth(depth, CAMERA, CAMERA, SHAPE, moved(x=0.1))
    # The near strip moves by 4 pixels, what is behind it by 1.
    row = found[12]
    assert row[14:20].tolist() == [1.0] * 6
    assert np.isnan(row[11:14]).all()
    assert row[1:11].tolist() == [4.0] * 10
    assert row[20:].tolist() == [4.0] * 12


def test_unknown_depth_and_points_behind_the_camera_are_left_out():
    depth = np.full(SHAPE, np.nan, np.float32)
    depth[11, 13:17] = np.inf, -1.0, 0.0, 1.0
    assert np.isnan(register_depth(depth, CAMERA, CAMERA, SHAPE, moved(z=-1.5))).all()
    assert np.count_nonzero(register_depth(depth, CAMERA, CAMERA, SHAPE, np.eye(4)) > 0) == 1


def test_a_camera_that_is_nearer_sees_larger_pixels():
    depth = np.full(SHAPE, 2.0, np.float32)
    found = register_depth(depth, CAMERA, CAMERA, SHAPE, moved(z=-1.2))
    np.testing.assert_allclose(found, 0.8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_pictures_of_any_shape(shape):
    ones = np.ones(shape, np.float32)
    assert register_depth(ones, CAMERA, CAMERA, SHAPE, np.eye(4)).shape == SHAPE
    assert (
        register_depth(np.ones(SHAPE, np.float32), CAMERA, CAMERA, shape, np.eye(4)).shape == shape
    )


def test_absurd_cameras_cost_no_more_than_others(monkeypatch):
    depth = np.ones(SHAPE, np.float32)
    huge, tiny = Intrinsics(1e300, 1e300, 0.0, 0.0), Intrinsics(1e-300, 1e-300, 0.0, 0.0)
    for pair in ((huge, tiny), (tiny, huge), (tiny, tiny), (huge, huge)):
        assert register_depth(depth, *pair, (300, 300), np.eye(4)).shape == (300, 300)
    monkeypatch.setattr(registration, "MAX_PAINTED", 10_000)
    with pytest.raises(ImageError, match="more than 10000 pixels"):
        register_depth(depth, CAMERA, scaled(CAMERA, 50.0), (300, 300), np.eye(4))
