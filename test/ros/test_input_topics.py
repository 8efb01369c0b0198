"""Names of topics as users of image_transport expect them."""

from __future__ import annotations

import pytest

from pag_ros.ros.input_topics import calibration_topic, choose_topic, picture_topics


@pytest.mark.parametrize(
    ("base", "compressed", "topics"),
    [
        ("/cam/image_raw", False, ("/cam/image_raw",)),
        ("/cam/image_raw", True, ("/cam/image_raw/compressed", "/cam/image_raw")),
        ("/cam/image_raw/compressed", True, ("/cam/image_raw/compressed",)),
        ("/cam/image_raw/compressed", False, ("/cam/image_raw/compressed",)),
    ],
)
def test_compressed_pictures_are_looked_for_below_the_topic_first(
    base: str, compressed: bool, topics: tuple[str, ...]
) -> None:
    assert picture_topics(base, compressed) == topics


@pytest.mark.parametrize(
    ("base", "info"),
    [
        ("/image", "/camera_info"),
        ("/cam/image_raw", "/cam/camera_info"),
        ("/robot/cam/image_raw/compressed", "/robot/cam/camera_info"),
    ],
)
def test_the_calibration_is_beside_the_pictures(base: str, info: str) -> None:
    assert calibration_topic(base) == info


@pytest.mark.parametrize(
    ("current", "published", "chosen"),
    [
        ("a", [], "a"),
        ("b", [], "b"),
        ("a", ["b"], "b"),
        ("b", ["a"], "a"),
        ("a", ["a", "b"], "a"),
        ("b", ["a", "b"], "b"),
        ("a", ["c"], "a"),
    ],
)
def test_a_topic_is_left_only_for_one_that_somebody_publishes(
    current: str, published: list[str], chosen: str
) -> None:
    assert choose_topic(("a", "b"), current, published) == chosen
