"""The time that a frame may take, and the verdict on it: every term, and what is learned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.budget import (
    Allowance,
    Cause,
    Conditions,
    Escalation,
    FrameTiming,
    Outcome,
    Ran,
    Rung,
    Timekeeper,
    Verdict,
)
from pag_ros.budget.deadline import LATE_BEYOND_USE, TRIM_AT

NOW = 1000.0
TIMING = FrameTiming(arrived_s=NOW - 0.010, age_s=0.005, deadline_s=0.100)
"""Due .085 s from now, and 10 ms in the node already."""
FLOOR_S = 0.020
CONDITIONS = Conditions(FLOOR_S, outputs=frozenset({"depth", "points"}))
OVERRUN_S = 1e-9

SECONDS = st.floats(0.0, 0.5)


def settled(
    resizing_s: float = 0.0, overshoot_s: float = 0.0, publishing: dict[str, float] | None = None
) -> Timekeeper:
    """A timekeeper that has seen frames which all took so long."""
    keeper = Timekeeper()
    for _ in range(60):
        allowance = Allowance.from_now(NOW, 0.1)
        ended_s = allowance.aim_s + overshoot_s
        keeper.judge(allowance, NOW, Ran(ended_s, resizing_s))
        keeper.published(allowance, NOW, NOW, publishing or {})
    return keeper


def allow(keeper: Timekeeper, timing: FrameTiming = TIMING, **conditions) -> Allowance:
    """The allowance of a frame whose turn came 2 ms ago."""
    return keeper.allow(timing, NOW - 0.002, NOW, replace(CONDITIONS, **conditions))


def test_at_first_the_network_may_take_all_that_is_left():
    allowance = allow(Timekeeper())
    assert allowance.due_s == pytest.approx(NOW + 0.085)
    assert allowance.network_s == pytest.approx(0.085)
    assert allowance.aim_s == pytest.approx(NOW + TRIM_AT * 0.085)
    assert allowance.trim_at_s == allowance.aim_s
    assert allowance.smallest_s == FLOOR_S
    assert allowance.publishing_s == 0.0
    assert allowance.may_drop


@pytest.mark.parametrize(
    ("change", "network_s"),
    [
        ({"guard_s": 0.004}, 0.081),
        ({"half_rate": True}, 0.185),
        ({"half_rate": True, "guard_s": 0.004}, 0.181),
    ],
)
def test_every_condition_counts(change, network_s):
    assert allow(Timekeeper(), **change).network_s == pytest.approx(network_s)


def test_at_half_rate_a_frame_is_due_a_deadline_later():
    assert allow(Timekeeper(), half_rate=True).due_s == pytest.approx(NOW + 0.185)


def test_the_fair_share_counts_from_the_frames_turn():
    shared = replace(TIMING, fair_s=0.050)
    assert allow(Timekeeper(), shared).network_s == pytest.approx(0.048)
    assert allow(Timekeeper(), shared).due_s == pytest.approx(NOW + 0.085), "due all the same"
    assert allow(Timekeeper(), replace(TIMING, fair_s=0.5)).network_s == pytest.approx(0.085)


def test_resizing_and_publishing_are_set_aside():
    keeper = settled(resizing_s=0.006, publishing={"depth": 0.003, "points": 0.010, "mask": 0.2})
    allowance = allow(keeper)
    assert allowance.publishing_s == pytest.approx(0.013, rel=1e-6), "of what is published now"
    assert allowance.network_s == pytest.approx(0.085 - 0.013 - 0.006, rel=1e-6)
    assert allowance.smallest_s == pytest.approx(FLOOR_S + 0.006, rel=1e-6)
    assert allow(keeper, outputs=frozenset({"depth"})).publishing_s == pytest.approx(0.003)
    assert allow(keeper, outputs=frozenset()).network_s == pytest.approx(0.079)


def test_networks_that_exceed_their_aim_trim_themselves_earlier():
    allowance = allow(settled(overshoot_s=0.004))
    assert allowance.network_s == pytest.approx(0.085), "the plan stays"
    assert allowance.aim_s - allowance.trim_at_s == pytest.approx(0.004, rel=1e-6)
    early = allow(settled(overshoot_s=-0.030))
    assert early.trim_at_s == early.aim_s


def test_a_frame_without_an_aim_teaches_nothing_about_exceeding_it():
    keeper = Timekeeper()
    keeper.judge(allow(keeper), NOW + 5.0, Ran(NOW + 5.0, aimed=False))
    assert allow(keeper).trim_at_s == allow(keeper).aim_s


@pytest.mark.parametrize(
    ("publish_s", "waited_s", "network_s"),
    [
        (0.005, 0.005, 0.090),  # as usual: what publishing leaves
        (0.075, 0.005, 0.020),  # slow, but the smallest budget is just in time with it
        (0.076, 0.005, 0.100),  # too slow for any budget: as if publishing took no time
        (0.400, 0.150, 0.100),  # and as if the frame had not waited for the one before
        (0.005, 0.092, 0.003),  # too little time, and publishing is the smaller part
    ],
)
def test_slow_publishing_costs_the_network_nothing_where_less_work_would_not_help(
    publish_s, waited_s, network_s
):
    keeper = settled(publishing={"depth": publish_s})
    timing = FrameTiming(NOW - waited_s, 0.0, 0.100)
    allowance = keeper.allow(timing, NOW, NOW, CONDITIONS)
    assert allowance.network_s == pytest.approx(network_s, abs=1e-6)


def test_slow_publishing_does_not_free_a_frame_from_guard_and_fair_share():
    keeper = settled(publishing={"depth": 0.4})
    assert allow(keeper, guard_s=0.004).network_s == pytest.approx(0.091)
    shared = replace(TIMING, fair_s=0.050)
    assert allow(keeper, shared, guard_s=0.004).network_s == pytest.approx(0.046)


@pytest.mark.parametrize(
    ("late_s", "outcome"),
    [
        (-0.085, Outcome.IN_TIME),
        (-OVERRUN_S, Outcome.IN_TIME),
        (OVERRUN_S, Outcome.LATE),
        (LATE_BEYOND_USE * 0.1 - 1e-6, Outcome.LATE),
        (LATE_BEYOND_USE * 0.1 + 1e-6, Outcome.ABANDONED),
    ],
)
def test_a_frame_is_judged_when_the_network_has_ended(late_s, outcome):
    keeper = Timekeeper()
    allowance = allow(keeper)
    now = allowance.due_s + late_s
    verdict = keeper.judge(allowance, now, Ran(now))
    assert verdict.outcome is outcome
    assert verdict.is_dropped == (outcome is Outcome.ABANDONED)
    assert verdict.is_late_by_network == (outcome is not Outcome.IN_TIME)


def test_a_frame_is_late_if_what_publishing_usually_takes_makes_it_so():
    keeper = settled(publishing={"depth": 0.010})
    allowance = allow(keeper)
    verdicts = [
        keeper.judge(allowance, now, Ran(now))
        for now in (allowance.due_s - 0.011, allowance.due_s - 0.009)
    ]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.IN_TIME, Outcome.LATE]


def test_at_half_rate_a_frame_is_judged_by_the_later_moment():
    keeper = Timekeeper()
    allowance = allow(keeper, half_rate=True)
    now = TIMING.due_s + 0.050
    assert keeper.judge(allowance, now, Ran(now)).outcome is Outcome.IN_TIME
    assert keeper.published(allowance, now, now, {}).outcome is Outcome.LATE, "users are told"


def test_a_skipped_frame_is_not_in_time_however_early_it_was_skipped():
    verdict = Timekeeper().judge(allow(Timekeeper()), NOW, None)
    assert verdict == Verdict(Outcome.SKIPPED, Cause.NETWORK)
    assert verdict.is_dropped


def test_the_longer_part_is_to_blame():
    keeper = settled(publishing={"depth": 0.060})
    allowance = allow(keeper)
    for now, cause in ((NOW + 0.050, Cause.PUBLISHING), (NOW + 0.070, Cause.NETWORK)):
        verdict = keeper.judge(allowance, now, Ran(now))
        assert verdict == Verdict(Outcome.LATE, cause)
        assert verdict.is_late_by_publishing == (cause is Cause.PUBLISHING)
    assert keeper.judge(allowance, NOW, None).cause is Cause.PUBLISHING, "longer than the smallest"


def test_the_networks_part_counts_from_the_frames_turn():
    keeper = settled(publishing={"depth": 0.060})
    allowance = replace(allow(keeper), started_s=NOW - 0.050)
    now = NOW + 0.040
    assert keeper.judge(allowance, now, Ran(now)).cause is Cause.NETWORK


def test_two_frames_in_a_row_are_never_dropped():
    keeper = Timekeeper()
    allowance = allow(keeper)
    now = allowance.due_s + 10.0
    assert keeper.judge(allowance, now, Ran(now)).outcome is Outcome.ABANDONED
    allowance = allow(keeper)
    assert not allowance.may_drop
    assert keeper.judge(allowance, now, Ran(now)).outcome is Outcome.LATE
    assert allow(keeper).may_drop
    keeper.judge(allow(keeper), NOW, None)
    assert not allow(keeper).may_drop


def test_where_nothing_is_dropped_the_latest_frame_is_published():
    keeper = Timekeeper()
    allowance = allow(keeper, drops=False)
    assert not allowance.may_drop
    now = allowance.due_s + 10.0
    assert keeper.judge(allowance, now, Ran(now)).outcome is Outcome.LATE


def test_outputs_are_judged_when_they_are_out():
    keeper = Timekeeper()
    allowance = allow(keeper)
    taken = {"depth": 0.01}
    on_time = keeper.published(allowance, NOW, TIMING.due_s, taken)
    assert on_time == Verdict(Outcome.IN_TIME)
    late_s = TIMING.due_s + OVERRUN_S
    assert keeper.published(allowance, NOW + 0.05, late_s, taken).cause is Cause.NETWORK
    slow = keeper.published(allowance, NOW + 0.05, NOW + 0.4, {"depth": 0.35})
    assert slow == Verdict(Outcome.LATE, Cause.PUBLISHING)


def test_frames_that_start_now_have_their_seconds():
    allowance = Allowance.from_now(NOW, 0.1, may_drop=False)
    assert (allowance.network_s, allowance.due_s) == (0.1, NOW + 0.1)
    assert allowance.trim_at_s == pytest.approx(NOW + TRIM_AT * 0.1)
    assert not allowance.may_drop
    assert Timekeeper().judge(allowance, NOW + 0.2, Ran(NOW + 0.2)).outcome is Outcome.LATE


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.floats(0.01, 0.5), st.booleans())
def test_more_to_set_aside_never_gives_the_network_more(resizing, publish, guard, age, fair, half):
    """As long as publishing is not the longer part, which has a rule of its own."""
    keeper = settled(resizing_s=resizing, publishing={"depth": publish})
    timing = FrameTiming(NOW, age, 0.1, fair)
    conditions = Conditions(10.0, frozenset({"depth"}), half, guard_s=guard)
    allowance = keeper.allow(timing, NOW, NOW, conditions)
    deadline = 0.2 if half else 0.1
    whole = min(deadline - age, fair) - guard
    assert allowance.network_s == pytest.approx(whole - publish - resizing, abs=1e-4)
    assert allowance.aim_s <= NOW + max(0.0, allowance.network_s)


@given(st.lists(st.tuples(SECONDS, SECONDS, st.booleans()), max_size=60))
def test_a_timekeeper_keeps_its_promises_whatever_happens(frames):
    keeper, dropped, now = Timekeeper(), False, NOW
    for took_s, publish_s, skips in frames:
        timing = FrameTiming(now, 0.001, 0.1)
        allowance = keeper.allow(timing, now, now, CONDITIONS)
        assert allowance.may_drop == (not dropped)
        assert allowance.trim_at_s <= allowance.aim_s
        ran = None if skips and allowance.may_drop else Ran(now + took_s, 0.001)
        now += took_s if ran else 0.0
        verdict = keeper.judge(allowance, now, ran)
        dropped = verdict.is_dropped
        assert (verdict.cause is None) == (verdict.outcome is Outcome.IN_TIME)
        if not dropped:
            began, now = now, now + publish_s
            out = keeper.published(allowance, began, now, {"depth": publish_s})
            assert (out.outcome is Outcome.IN_TIME) == (now <= timing.due_s)
            assert math.isfinite(keeper.allow(timing, now, now, CONDITIONS).network_s)


def test_a_machine_that_is_always_too_slow_is_led_down_the_ladder_though_it_skips_frames():
    """Skipped frames alternate with late ones: neither breaks the row that leads down."""
    keeper, ladder, rungs = Timekeeper(), Escalation(half_resolution=False), []
    now, floor_s = NOW, 0.5
    for _ in range(20):
        timing = FrameTiming(now, 0.0, 0.1)
        conditions = Conditions(floor_s, half_rate=ladder.half_rate)
        allowance = keeper.allow(timing, now, now, conditions)
        skips = allowance.may_drop
        now += 0.01 if skips else floor_s
        verdict = keeper.judge(allowance, now, None if skips else Ran(now))
        rungs.append(ladder.finished(verdict.is_late_by_network, True, False, now))
    assert [rung for rung in rungs if rung is not None] == [Rung.HALF_RATE, Rung.DEGRADED]
