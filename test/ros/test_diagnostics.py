"""Each verdict of /diagnostics."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from budget_reports import REPORT
from diagnostic_msgs.msg import DiagnosticStatus

from pag_ros.budget import Rung
from pag_ros.ros.channel import Problems
from pag_ros.ros.diagnostics import (
    Input,
    budget_status,
    counters_status,
    deadline_status,
    engine_status,
    input_problem,
    input_status,
    of_camera,
    scale_status,
    sign,
)
from pag_ros.ros.timing import ArrivalReport
from pag_ros.runtime import open_session
from pag_ros.runtime.machine_state import read_machine_state
from pag_ros.runtime.scale_filter import ScaleReport, ScaleSource

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
COMING = ArrivalReport(silent_s=0.1, rate_hz=10.0, lost_share=0.0, images=50)
SILENT = COMING._replace(silent_s=3.0)
FINE = Input("/image", IMAGE, [IMAGE], COMING, reliable=True, camera="640x480, fx 525")


def test_a_live_calibrated_camera_is_fine() -> None:
    status = input_status(FINE, no_image_s=2.0)
    assert (status.level, status.message) == (OK, "10.0 images/s")


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({"arrivals": None}, OK, "not active"),
        ({"camera": None}, WARN, "depth is not published"),
        (
            {"arrivals": SILENT, "published_types": []},
            ERROR,
            "no image for 3.0 s: nobody publishes /image, nor pictures on any other topic",
        ),
        (
            {"arrivals": SILENT, "published_types": [], "elsewhere": list("abcdefg")},
            ERROR,
            "nobody publishes /image; there are pictures on a, b, c, d, e and 2 more",
        ),
        (
            {"arrivals": SILENT},
            ERROR,
            "no image for 3.0 s: /image has a publisher, but it sends none",
        ),
        ({"arrivals": SILENT._replace(lost_share=1.0)}, ERROR, "all were lost on their way"),
        ({"arrivals": COMING._replace(lost_share=0.5)}, WARN, "10.0 images/s, 50% lost on"),
        ({"arrivals": COMING._replace(lost_share=0.01)}, OK, "10.0 images/s, 1% lost on"),
        (
            {"arrivals": SILENT, "published_types": [COMPRESSED_IMAGE]},
            ERROR,
            f"/image is {COMPRESSED_IMAGE}, not {IMAGE}; set image_transport to compressed",
        ),
        (
            {
                "arrivals": SILENT,
                "published_types": [IMAGE, IMAGE],
                "expected_type": COMPRESSED_IMAGE,
            },
            ERROR,
            "set image_transport to raw",
        ),
        (
            {"arrivals": SILENT, "published_types": ["std_msgs/msg/String"]},
            ERROR,
            f"/image is std_msgs/msg/String, not {IMAGE}",
        ),
    ],
)
def test_a_trouble_with_the_input_is_named(change: dict, level: bytes, text: str) -> None:
    status = input_status(replace(FINE, **change), no_image_s=2.0)
    assert status.level == level
    assert text in status.message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"arrivals": None, "camera": None}, None),
        ({"arrivals": COMING._replace(images=0), "camera": None}, None),
        ({"camera": None}, "no calibrated CameraInfo on camera_info: depth is not published"),
        (
            {"camera": None, "fault": "fx is -1", "info_topic": "/i"},
            "CameraInfo on /i is no calibration (fx is -1): depth is not published",
        ),
        (
            {"lens": "the lens bends"},
            "the lens bends; outputs are those of a pinhole: listen to rectified pictures "
            "(image_proc's image_rect) instead",
        ),
        (
            {"arrivals": SILENT, "published_types": [], "elsewhere": ["/a (Image)"]},
            "no image: nobody publishes /image; there are pictures on /a (Image)",
        ),
    ],
)
def test_a_problem_is_told_in_words_that_stay_the_same(change: dict, problem: str | None) -> None:
    assert input_problem(replace(FINE, **change), no_image_s=2.0) == problem


def test_a_lens_is_named_and_no_reason_to_worry() -> None:
    status = input_status(replace(FINE, lens="the lens bends"), no_image_s=2.0)
    assert status.level == OK
    assert {v.key: v.value for v in status.values}["lens"] == "the lens bends"
    assert "lens" not in {v.key for v in input_status(FINE, no_image_s=2.0).values}


@pytest.mark.parametrize(
    ("camera_hz", "level", "text"),
    [
        (None, OK, "10.0 images/s"),
        (10.4, OK, "10.0 images/s"),
        (30.0, WARN, "10.0 of the 30.0 images/s that the stamps tell of: the camera's driver"),
    ],
)
def test_fewer_pictures_than_the_camera_takes_are_a_warning(
    camera_hz: float | None, level: bytes, text: str
) -> None:
    status = input_status(replace(FINE, arrivals=COMING._replace(camera_hz=camera_hz)), 2.0)
    assert status.level == level
    assert status.message.startswith(text)


def test_input_says_what_makes_pictures_of_messages() -> None:
    status = input_status(replace(FINE, converter="pag_ros (cv_bridge: not installed)"), 2.0)
    values = {v.key: v.value for v in status.values}
    assert values["converter"] == "pag_ros (cv_bridge: not installed)"


def test_the_log_is_told_of_a_problem_once_and_not_of_what_is_over_at_once() -> None:
    found = ["a", None, "a", "a", "a", "b", "a", "a", "b", "b", None, None, "b", "b"]
    problems = Problems()
    said = [problems.news(problem) for problem in found]
    assert [(i, text) for i, text in enumerate(said) if text] == [(3, "a"), (9, "b")]


@pytest.mark.parametrize(
    ("miss_rate", "level"), [(None, OK), (0.0, OK), (0.05, OK), (0.1, WARN), (0.3, ERROR)]
)
def test_misses_are_judged_by_the_limits(miss_rate: float | None, level: bytes) -> None:
    status = deadline_status(miss_rate, 100.0, {"total": (1.0, 2.0, 3.0)}, warn=0.05, error=0.25)
    assert status.level == level
    assert ("n/a" in status.message) == (miss_rate is None)
    values = {v.key: v.value for v in status.values}
    assert values["total_ms"] == "p50 1.00, p95 2.00, p99 3.00"


@pytest.mark.parametrize(
    ("rung", "slow_publishing", "thinned", "level", "text"),
    [
        (Rung.FULL, False, "", OK, "budget 0.50"),
        (Rung.FULL, True, "", WARN, "budget 0.50; late by publishing, most of it points (412 ms)"),
        (Rung.FULL, False, "points 1 of 4", WARN, "0.50; published less often: points 1 of 4"),
        (Rung.HALF_RATE, False, "", WARN, "budget 0.50 at half rate"),
        (Rung.HALF_RATE, True, "", WARN, "at half rate; late by publishing"),
        (Rung.DEGRADED, True, "", ERROR, "degraded: even half the frame rate is late"),
    ],
)
def test_what_the_deadline_fails_by_is_named(
    rung: Rung, slow_publishing: bool, thinned: str, level: bytes, text: str
) -> None:
    report = replace(
        REPORT,
        slow_publishing=slow_publishing,
        slowest_output="points (412 ms)",
        thinned_outputs=thinned,
    )
    status = budget_status(report, rung)
    assert status.level == level
    assert text in status.message
    assert budget_status(None, Rung.FULL).message == "n/a: no frame yet"


def test_statuses_carry_the_name_of_their_node_and_machine() -> None:
    statuses = [input_status(FINE, no_image_s=2.0), budget_status(None, Rung.FULL)]
    sign(of_camera("left", statuses), "front/pag_perception")
    assert [status.name for status in statuses] == [
        "front/pag_perception: input left",
        "front/pag_perception: budget left",
    ]
    assert {status.hardware_id for status in statuses} == {platform.node()}


def test_bad_messages_are_a_warning() -> None:
    counts = {"received": 3, "processed": 2, "bad": 1}
    assert counters_status(counts).level == WARN
    assert counters_status({**counts, "bad": 0}).level == OK


def test_the_engine_tells_what_half_the_resolution_costs(tiny_model: Path) -> None:
    session = open_session(tiny_model, "cpu", 1)
    state = read_machine_state()
    scores = {"1.00": {"depth delta1": 0.46, "normals median": 19.0}}
    halved = {"1.00": {"depth delta1": 0.4}}
    whole = replace(session.manifest, scores=scores)
    half, unscored = replace(whole, scores=halved), replace(whole, scores={})
    for sizes, words in (
        ((whole, half), "depth delta1 0.4 for 0.46"),
        ((whole, unscored), "not recorded"),
        ((whole,), "not recorded"),
    ):
        values = {v.key: v.value for v in engine_status(session, state, sizes).values}
        assert values["half_resolution_scores"] == words
    status = engine_status(session, state, (whole,), "/log: No space left on device")
    assert status.level == WARN
    assert "log_decisions ended: /log: No space left" in status.message
    session.close()


SEEN = ScaleReport(ScaleSource.FLOOR, 1.13, share=0.42, spread=0.08, confidence=0.6, age_s=0.0)


@pytest.mark.parametrize(
    ("report", "level", "message"),
    [
        (None, OK, "network: neither camera_height nor ground_frame is set"),
        (ScaleReport(), OK, "network"),
        (SEEN, OK, "floor, x1.13, 42% of pixels"),
        (
            replace(SEEN, source=ScaleSource.HELD, age_s=3.0),
            OK,
            "held, x1.13, floor seen 3.0 s ago",
        ),
        (
            ScaleReport(refused=3.1),
            WARN,
            "network; the floor asks for x3.10, not within 0.4 to 2.5",
        ),
    ],
)
def test_the_source_of_the_scale_is_told(
    report: ScaleReport | None, level: bytes, message: str
) -> None:
    status = scale_status(report)
    assert (status.level, status.message) == (level, message)


def test_the_scale_is_told_in_numbers() -> None:
    values = {v.key: v.value for v in scale_status(SEEN).values}
    assert values == {
        "source": "floor",
        "factor": "1.13",
        "floor_share": "0.42",
        "spread": "0.08",
        "confidence": "0.6",
        "seconds_since_floor": "0",
        "refused_factor": "n/a",
    }
