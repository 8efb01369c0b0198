"""Each verdict of /diagnostics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticStatus

from pag_ros.ros.diagnostics import (
    Input,
    counters_status,
    deadline_status,
    engine_status,
    input_status,
)
from pag_ros.runtime import open_session
from pag_ros.runtime.machine_state import read_machine_state

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
IMAGE = "sensor_msgs/msg/Image"
FINE = Input("/image", IMAGE, [IMAGE], silent_s=0.1, rate_hz=10.0, camera="640x480, fx 525")


def test_a_live_calibrated_camera_is_fine() -> None:
    status = input_status(FINE, no_image_s=2.0)
    assert (status.level, status.message) == (OK, "10.0 images/s")


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"silent_s": None}, OK, "not active"),
        ({"camera": None}, WARN, "depth is not published"),
        ({"silent_s": 3.0, "published_types": []}, ERROR, "nobody publishes /image"),
        ({"silent_s": 3.0}, ERROR, "no image for 3.0 s"),
        (
            {"silent_s": 3.0, "published_types": ["sensor_msgs/msg/CompressedImage"]},
            ERROR,
            "image_transport",
        ),
    ],
)
def test_a_trouble_with_the_input_is_named(change: dict, level: bytes, text: str) -> None:
    status = input_status(replace(FINE, **change), no_image_s=2.0)
    assert status.level == level
    assert text in status.message


@pytest.mark.parametrize(
    ("miss_rate", "level"), [(None, OK), (0.0, OK), (0.05, OK), (0.1, WARN), (0.3, ERROR)]
)
def test_misses_are_judged_by_the_limits(miss_rate: float | None, level: bytes) -> None:
    status = deadline_status(miss_rate, 100.0, {"total": (1.0, 2.0, 3.0)}, warn=0.05, error=0.25)
    assert status.level == level
    assert ("n/a" in status.message) == (miss_rate is None)
    values = {v.key: v.value for v in status.values}
    assert values["total_ms"] == "p50 1.00, p95 2.00, p99 3.00"


def test_bad_messages_are_a_warning() -> None:
    counts = {"received": 3, "processed": 2, "bad": 1}
    assert counters_status(counts).level == WARN
    assert counters_status({**counts, "bad": 0}).level == OK


def test_the_engine_tells_what_half_the_resolution_costs(tiny_model: Path) -> None:
    session = open_session(tiny_model, "cpu", 1)
    state = read_machine_state()
    scores = {"1.00": {"depth delta1": 0.46, "normals median": 19.0}}
    halved = {"1.00": {"depth delta1": 0.4}}
    for half_scores, words in ((halved, "depth delta1 0.4 for 0.46"), ({}, "not recorded")):
        whole = replace(session.manifest, scores=scores, half_scores=half_scores)
        values = {v.key: v.value for v in engine_status(session, state, whole).values}
        assert values["half_resolution_scores"] == words
    status = engine_status(session, state, session.manifest, "/log: No space left on device")
    assert status.level == WARN
    assert "log_decisions ended: /log: No space left" in status.message
    session.close()
