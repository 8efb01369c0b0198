"""What to ask of publishers, and what to say where they do not offer it."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from rclpy.qos import ReliabilityPolicy

from pag_ros.ros.subscriptions import choose_reliability

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
UNKNOWN = ReliabilityPolicy.UNKNOWN


@pytest.mark.parametrize(
    ("offered", "current", "wanted"),
    [
        ([], RELIABLE, RELIABLE),
        ([], BEST_EFFORT, BEST_EFFORT),
        ([RELIABLE], BEST_EFFORT, RELIABLE),
        ([RELIABLE, RELIABLE], BEST_EFFORT, RELIABLE),
        ([BEST_EFFORT], RELIABLE, BEST_EFFORT),
        ([RELIABLE, BEST_EFFORT], RELIABLE, BEST_EFFORT),
        ([BEST_EFFORT, RELIABLE], RELIABLE, BEST_EFFORT),
        ([UNKNOWN], RELIABLE, BEST_EFFORT),
    ],
)
def test_reliable_is_asked_of_publishers_that_all_offer_it(
    offered: list[ReliabilityPolicy], current: ReliabilityPolicy, wanted: ReliabilityPolicy
) -> None:
    assert choose_reliability(offered, current) == wanted
