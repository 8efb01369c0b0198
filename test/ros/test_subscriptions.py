"""What to ask of publishers, and what to say where they do not offer it."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from pag_ros.ros.subscriptions import Service, choose_service

KEPT, VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
RELIABLE = Service(ReliabilityPolicy.RELIABLE, VOLATILE)
BEST_EFFORT = Service(ReliabilityPolicy.BEST_EFFORT, VOLATILE)
UNKNOWN = Service(ReliabilityPolicy.UNKNOWN, DurabilityPolicy.UNKNOWN)
LATCHED = RELIABLE._replace(durability=KEPT)


@pytest.mark.parametrize(
    ("offered", "current", "wanted"),
    [
        ([], RELIABLE, RELIABLE),
        ([], BEST_EFFORT, BEST_EFFORT),
        ([], LATCHED, LATCHED),
        ([RELIABLE], BEST_EFFORT, RELIABLE),
        ([RELIABLE, RELIABLE], BEST_EFFORT, RELIABLE),
        ([BEST_EFFORT], RELIABLE, BEST_EFFORT),
        ([RELIABLE, BEST_EFFORT], RELIABLE, BEST_EFFORT),
        ([BEST_EFFORT, RELIABLE], RELIABLE, BEST_EFFORT),
        ([UNKNOWN], RELIABLE, BEST_EFFORT),
        ([LATCHED], RELIABLE, LATCHED),
        ([LATCHED, LATCHED], RELIABLE, LATCHED),
        ([LATCHED, RELIABLE], LATCHED, RELIABLE),
        ([LATCHED, BEST_EFFORT], LATCHED, BEST_EFFORT),
    ],
)
def test_of_several_publishers_is_asked_what_all_of_them_offer(
    offered: list[Service], current: Service, wanted: Service
) -> None:
    assert choose_service(offered, current) == wanted
