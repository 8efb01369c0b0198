"""Slow publishing is told from a slow network, and does not cost the network anything."""

from __future__ import annotations

import pytest

from pag_ros.ros.publishing import Published, PublishingTime

FLOOR_S, WHOLE_S = 0.010, 0.100


def publishing(seconds: float) -> PublishingTime:
    """One whose outputs always take so long."""
    time = PublishingTime()
    for _ in range(50):
        time.observe(seconds)
    return time


@pytest.mark.parametrize(
    ("publish_s", "left_s", "planned_s"),
    [
        (0.005, 0.095, 0.090),  # as usual: what publishing leaves
        (0.080, 0.095, 0.015),  # slow, but the smallest budget is in time with it
        (0.400, 0.095, WHOLE_S),  # too slow for any budget
        (0.400, -0.050, WHOLE_S),  # the frame has waited for the one before to be published
        (0.005, 0.008, 0.003),  # too little time, and publishing is the smaller part
    ],
)
def test_the_network_is_planned_for_what_publishing_leaves_unless_that_helps_nobody(
    publish_s: float, left_s: float, planned_s: float
) -> None:
    planned = publishing(publish_s).time_for_network(left_s, WHOLE_S, FLOOR_S)
    assert planned == pytest.approx(planned_s, abs=1e-4)


def test_the_longer_part_is_to_blame() -> None:
    assert publishing(0.2).exceeds(0.05)
    assert not publishing(0.02).exceeds(0.05)


def test_the_slowest_output_is_named_with_its_size() -> None:
    published = Published({"depth/image": 0.01, "points": 0.412}, {"points": 66_400_000})
    assert published.slowest() == "points (412 ms, 66.4 MB)"
    assert Published({"depth/camera_info": 0.001}, {}).slowest() == "depth/camera_info (1 ms)"
    assert Published({}, {}).slowest() == "nothing"
