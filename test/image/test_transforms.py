"""Fixed frames are joined through whatever joins them, and nothing else is believed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.errors import ImageError
from pag_ros.image import transforms
from pag_ros.image.transforms import FrameTree


def stamped(parent, child, shift=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0)):
    """A geometry_msgs/TransformStamped; the turn is a quaternion x, y, z, w."""
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=parent),
        child_frame_id=child,
        transform=SimpleNamespace(
            translation=SimpleNamespace(**dict(zip("xyz", shift, strict=True))),
            rotation=SimpleNamespace(**dict(zip("xyzw", turn, strict=True))),
        ),
    )


def frames_of(*transforms):
    frames = FrameTree()
    for transform in transforms:
        frames.add(transform)
    return frames


OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""From x forward, y left, z up to z forward, x right, y down: what every camera driver tells."""


def test_a_frame_is_where_its_parent_says():
    frames = frames_of(stamped("base", "camera", (1.0, 2.0, 3.0), OPTICAL))
    to_base = frames.between("camera", "base")
    np.testing.assert_allclose(to_base @ [0, 0, 1, 1], [2, 2, 3, 1], atol=1e-12)  # forward
    np.testing.assert_allclose(to_base @ [1, 0, 0, 1], [1, 1, 3, 1], atol=1e-12)  # right
    np.testing.assert_allclose(to_base @ [0, 1, 0, 1], [1, 2, 2, 1], atol=1e-12)  # down
    back = frames.between("base", "camera")
    np.testing.assert_allclose(back @ to_base, np.eye(4), atol=1e-12)


def test_two_cameras_are_joined_through_their_links():
    frames = frames_of(
        stamped("depth_link", "depth_optical", turn=OPTICAL),
        stamped("link", "color_link", (0.0, 0.015, 0.0)),
        stamped("color_link", "color_optical", turn=OPTICAL),
        stamped("base", "link", (5.0, 0.0, 1.0), (0, 0, 1, 1)),
        stamped("link", "depth_link"),
    )
    found = frames.between("depth_optical", "color_optical")
    # The colour camera is 15 mm to the left, so that it sees everything 15 mm further right.
    np.testing.assert_allclose(found[:3, 3], [0.015, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frames.between("link", "link"), np.eye(4))


numbers = st.floats(-5, 5)
quaternions = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: math.hypot(*q) > 1e-3)


@given(
    st.lists(st.tuples(st.tuples(numbers, numbers, numbers), quaternions), min_size=1, max_size=6)
)
def test_any_chain_keeps_lengths_and_can_be_gone_back(links):
    chain = [stamped(f"f{i}", f"f{i + 1}", *link) for i, link in enumerate(links)]
    frames = frames_of(*reversed(chain))
    last = f"f{len(links)}"
    up, down = frames.between(last, "f0"), frames.between("f0", last)
    np.testing.assert_allclose(up @ down, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(up[:3, :3] @ up[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(up[:3, :3]) == pytest.approx(1.0)
    step = frames.between("f1", "f0")
    np.testing.assert_allclose(step @ frames.between(last, "f1"), up, atol=1e-9)


def test_the_length_of_a_quaternion_makes_no_difference():
    one, other = stamped("a", "b", turn=(0, 0, 1, 1)), stamped("a", "b", turn=(0, 0, 50, 50))
    np.testing.assert_allclose(
        frames_of(one).between("b", "a"), frames_of(other).between("b", "a"), atol=1e-12
    )


def test_what_is_told_last_holds():
    frames = frames_of(stamped("a", "b", (1, 0, 0)), stamped("a", "b", (2, 0, 0)))
    assert frames.between("b", "a")[0, 3] == 2.0


def test_names_may_begin_with_a_slash():
    frames = frames_of(stamped("/a", "b", (1, 0, 0)))
    assert frames.between("/b", "a")[0, 3] == 1.0


def test_frames_that_nothing_joins_are_named():
    frames = frames_of(stamped("a", "b"), stamped("c", "d"))
    with pytest.raises(ImageError, match=r"no transform b -> d in /tf_static"):
        frames.between("b", "d")
    with pytest.raises(ImageError, match=r"no transform x\\x1b -> ''"):
        frames.between("x\x1b", "")


def test_a_circle_is_refused():
    frames = frames_of(stamped("a", "b"), stamped("b", "c"), stamped("c", "a"))
    for pair in (("a", "x"), ("x", "a")):
        with pytest.raises(ImageError, match="circle at a"):
            frames.between(*pair)
    with pytest.raises(ImageError, match="circle"):
        frames_of(stamped("a", "a")).between("a", "x")


@pytest.mark.parametrize(
    ("shift", "turn", "text"),
    [
        ((math.nan, 0, 0), (0, 0, 0, 1), "a -> b has a translation"),
        ((0, math.inf, 0), (0, 0, 0, 1), "a -> b has a translation"),
        ((0, 0, 1e9), (0, 0, 0, 1), "a -> b has a translation"),
        ((0, 0, 0), (0, 0, 0, 0), "a -> b has a rotation"),
        ((0, 0, 0), (math.nan, 0, 0, 1), "a -> b has a rotation"),
        ((0, 0, 0), (0, math.inf, 0, 1), "a -> b has a rotation"),
    ],
)
def test_numbers_that_are_no_place_are_refused(shift, turn, text):
    with pytest.raises(ImageError, match=text):
        frames_of(stamped("a", "b", shift, turn))


def test_the_number_of_frames_has_a_limit(monkeypatch):
    monkeypatch.setattr(transforms, "MAX_FRAMES", 3)
    frames = frames_of(*(stamped("a", f"b{i}") for i in range(3)))
    frames.add(stamped("a", "b0", (1, 0, 0)))
    with pytest.raises(ImageError, match="more than 3 frames"):
        frames.add(stamped("a", "b3"))
