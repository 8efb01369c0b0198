"""How a factor follows what is seen of the floor over time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pag_ros.runtime.floor_scale import FloorSighting
from pag_ros.runtime.scale_filter import (
    BACKWARD_JUMP_S,
    SETTLING_S,
    ScaleFilter,
    ScaleReport,
    ScaleSource,
)

SURE = FloorSighting(1.2, pixels=2000, share=0.4, agreement=1.0, spread=0.0)


def sighting(factor: float, **changes: float) -> FloorSighting:
    return replace(SURE, factor=factor, **changes)


def test_before_any_floor_the_scale_is_the_networks() -> None:
    assert ScaleFilter().follow(None, 5.0) == ScaleReport(ScaleSource.NETWORK, 1.0)


def test_the_first_sighting_is_taken_whole() -> None:
    report = ScaleFilter().follow(sighting(1.2, share=0.02, spread=0.2), 5.0)
    assert report.source is ScaleSource.FLOOR
    assert report.factor == pytest.approx(1.2)
    assert (report.share, report.spread, report.age_s) == (0.02, 0.2, 0.0)
    assert report.confidence == pytest.approx(0.04)


def test_a_change_is_followed_with_the_settling_time_at_any_rate() -> None:
    for rate_hz in (5, 30, 100):
        scale = ScaleFilter()
        scale.follow(sighting(1.0), 0.0)
        for i in range(1, round(SETTLING_S * rate_hz) + 1):
            report = scale.follow(sighting(2.0), i / rate_hz)
        assert math.log2(report.factor) == pytest.approx(1.0 - math.exp(-1.0))


def test_up_and_down_are_alike() -> None:
    up, down = ScaleFilter(), ScaleFilter()
    for scale, factor in ((up, 2.0), (down, 0.5)):
        scale.follow(sighting(1.0), 0.0)
        scale.follow(sighting(factor), 0.3)
    rose, fell = up.follow(None, 0.3).factor, down.follow(None, 0.3).factor
    assert rose * fell == pytest.approx(1.0)


def test_what_is_believed_less_moves_less() -> None:
    factors = []
    for share in (0.01, 0.05, 0.4):
        scale = ScaleFilter()
        scale.follow(sighting(1.0), 0.0)
        factors.append(scale.follow(sighting(2.0, share=share), 0.2).factor)
    assert factors == sorted(factors)
    assert factors[0] < 1.02 < 1.1 < factors[2]


def test_while_no_floor_is_seen_the_factor_is_held_and_its_age_told() -> None:
    scale = ScaleFilter()
    scale.follow(SURE, 10.0)
    for age_s in (0.1, 3.0, 500.0):
        report = scale.follow(None, 10.0 + age_s)
        assert (report.source, report.factor) == (ScaleSource.HELD, pytest.approx(1.2))
        assert report.age_s == pytest.approx(age_s)
    assert report.describe() == "held, x1.20, floor seen 500.0 s ago"


def test_after_a_pause_one_picture_does_not_decide_alone() -> None:
    scale = ScaleFilter()
    scale.follow(sighting(1.0), 0.0)
    report = scale.follow(sighting(2.0), 100.0 * SETTLING_S)
    assert math.log2(report.factor) == pytest.approx(1.0 - math.exp(-1.0))


def test_a_factor_out_of_range_is_refused_and_told() -> None:
    scale = ScaleFilter()
    report = scale.follow(sighting(3.1), 0.0)
    assert (report.source, report.factor, report.refused) == (ScaleSource.NETWORK, 1.0, 3.1)
    assert report.describe() == "network; the floor asks for x3.10, not within 0.4 to 2.5"
    scale.follow(SURE, 1.0)
    report = scale.follow(sighting(0.2), 2.0)
    assert (report.source, report.age_s, report.refused) == (ScaleSource.HELD, 1.0, 0.2)
    assert report.factor == pytest.approx(1.2)


def test_a_jump_back_in_time_begins_anew() -> None:
    scale = ScaleFilter()
    scale.follow(SURE, 10.0)
    assert scale.follow(None, 10.0 - 2.0 * BACKWARD_JUMP_S) == ScaleReport()
    assert scale.follow(sighting(0.8), 9.1).factor == pytest.approx(0.8)


def test_pictures_in_disorder_change_nothing_but_are_no_jump() -> None:
    scale = ScaleFilter()
    scale.follow(SURE, 10.0)
    report = scale.follow(sighting(2.0), 10.0 - 0.5 * BACKWARD_JUMP_S)
    assert (report.source, report.age_s) == (ScaleSource.FLOOR, 0.0)
    assert report.factor == pytest.approx(1.2)


def test_it_is_told_for_people() -> None:
    assert ScaleFilter().follow(SURE, 0.0).describe() == "floor, x1.20, 40% of pixels"
    assert ScaleReport().describe() == "network"
