"""Counters, percentiles, rates and gaps."""

from __future__ import annotations

from itertools import accumulate

import pytest

from pag_ros.ros.statistics import RECENT_FRAMES, FrameStatistics, SequenceGaps
from pag_ros.ros.timing import Arrivals


def test_nothing_is_claimed_before_the_first_frame() -> None:
    statistics = FrameStatistics()
    assert statistics.miss_rate() is None
    assert statistics.percentiles_ms() == {}
    assert set(statistics.counts().values()) == {0}


def test_late_skipped_and_superseded_frames_are_misses_but_bad_and_idle_are_not() -> None:
    statistics = FrameStatistics()
    for outcome in ("superseded", "skipped", "abandoned", "bad", "idle"):
        statistics.received()
        statistics.finished(outcome)
    for late in (True, False):
        statistics.received()
        statistics.processed({"total": 0.01}, late)
    assert statistics.miss_rate() == pytest.approx(4 / 5)
    statistics.lost(3)  # never came, so the node has missed nothing
    assert statistics.miss_rate() == pytest.approx(4 / 5)
    counts = statistics.counts()
    assert counts.pop("received") == 7
    assert counts.pop("late") == 1
    assert counts.pop("lost") == 3
    assert sum(counts.values()) == 7


def test_percentiles_are_of_the_recent_frames_in_milliseconds() -> None:
    statistics = FrameStatistics()
    statistics.processed({"total": 9.0}, late=False)
    for _ in range(RECENT_FRAMES):
        statistics.processed({"total": 0.02}, late=False)
    assert statistics.percentiles_ms()["total"] == pytest.approx((20.0, 20.0, 20.0))


def test_silence_and_rate_follow_the_clock() -> None:
    arrivals = Arrivals(10.0)
    for now in (10.5, 11.0, 11.5):
        arrivals.arrived(now, now - 0.1)
    arrivals.lost(1)
    assert arrivals.report(12.0) == (0.5, 1.5, 0.25, 3, None)
    assert arrivals.report(13.0) == (1.5, 0.0, 0.0, 3, None)
    assert arrivals.report(3.0).silent_s == 0.0, "simulated time has jumped back"


def stamped(intervals_s: list[float]) -> float | None:
    arrivals = Arrivals(0.0)
    for stamp_s in [0.0, *accumulate(intervals_s)]:
        arrivals.arrived(stamp_s, stamp_s)
    return arrivals.report(100.0).camera_hz


def test_the_cameras_rate_is_told_by_its_stamps_though_pictures_are_missing() -> None:
    jitter = [0.0333, 0.0335, 0.0331, 0.0334]
    assert stamped(jitter * 5) == pytest.approx(30.0, rel=0.01)
    every_other_or_third = [0.0667, 0.0333, 0.1, 0.0667, 0.0334]
    assert stamped(every_other_or_third * 4) == pytest.approx(30.0, rel=0.01)


def test_stamps_without_a_period_tell_nothing() -> None:
    assert stamped([0.033] * 9) is None, "too few"
    assert stamped([0.033, 0.046, 0.058, 0.051] * 5) is None, "the rate varies"
    assert stamped([0.0] * 30) is None, "stamps stand still"


def test_a_bag_that_starts_again_does_not_disturb_the_rate() -> None:
    assert stamped([0.1] * 12 + [-1.0] + [0.1] * 12) == pytest.approx(10.0)


def test_gaps_in_the_numbers_are_messages_that_newer_ones_have_replaced() -> None:
    gaps = SequenceGaps()
    numbers = [7, 8, 11, 12, 2, 4, 5, None, 9]
    # Told with the next message: until then the middleware may say that they were lost.
    assert [gaps.arrived(number) for number in numbers] == [0, 0, 0, 2, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("told_first", [True, False])
def test_lost_messages_were_replaced_by_nobody(told_first: bool) -> None:
    gaps = SequenceGaps()
    gaps.arrived(1)
    if told_first:
        gaps.lost(2)
    assert gaps.arrived(5) == 0  # 2, 3 and 4 are missing
    if not told_first:
        gaps.lost(2)
    assert gaps.arrived(6) == 1
    assert gaps.arrived(7) == 0


def test_what_was_lost_before_the_first_message_excuses_nothing_later() -> None:
    gaps = SequenceGaps()
    gaps.lost(40)
    assert [gaps.arrived(number) for number in (41, 42, 45, 46)] == [0, 0, 0, 2]
