"""The controller keeps deadlines under load, wastes little time, and stays calm."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pag_ros.budget import Controller, ControllerSettings, LatencyTable, StageLatency
from pag_ros.errors import ParameterError

DEADLINE_S = 0.033
FULL_S, EMPTY_S = 0.0454, 0.0118


@pytest.fixture
def controller(manifest, table) -> Controller:
    return Controller(manifest, table)


def settled(controller: Controller, machine, frames: int = 60) -> Controller:
    machine().play(controller, frames, DEADLINE_S)
    return controller


def test_a_quiet_machine_uses_nearly_all_of_the_time(controller, machine):
    played = machine().play(controller, 600, DEADLINE_S)
    assert played.missed(DEADLINE_S) <= 0.002
    assert np.mean(played.latency_s[100:]) > 0.93 * DEADLINE_S
    assert np.std(played.budgets[100:]) < 0.03


def test_load_steps_cost_few_frames_where_a_fixed_budget_fails(manifest, table, machine):
    def steps(frame: int) -> float:
        return 1.6 if frame // 300 % 2 else 1.0

    adaptive = machine(steps).play(Controller(manifest, table), 3000, DEADLINE_S)
    settings = ControllerSettings(mode="fixed", budget=0.55)
    fixed = machine(steps).play(Controller(manifest, table, settings), 3000, DEADLINE_S)
    assert adaptive.missed(DEADLINE_S) < 0.01
    assert fixed.missed(DEADLINE_S) > 0.4
    assert np.mean(adaptive.budgets) > 0.35


def test_it_settles_within_three_frames_of_a_load_step(controller, machine):
    settled(controller, machine)
    played = machine(lambda frame: 1.6, noise=0.005).play(controller, 20, DEADLINE_S)
    assert played.latency_s[0] > DEADLINE_S
    assert max(played.latency_s[3:]) <= DEADLINE_S


def test_a_throttling_staircase_is_followed(controller, machine):
    played = machine(lambda frame: 1.0 + 0.1 * (frame // 150)).play(controller, 1050, DEADLINE_S)
    assert played.missed(DEADLINE_S) <= 0.01


def test_after_a_load_the_budget_comes_back_but_not_in_one_leap(controller, machine):
    settled(controller, machine)
    machine(lambda frame: 1.6).play(controller, 60, DEADLINE_S)
    played = machine().play(controller, 120, DEADLINE_S)
    assert max(np.diff(played.budgets)) <= 0.03 + 1e-9
    assert played.budgets[-1] > played.budgets[0] + 0.2


def test_a_rise_of_less_than_two_percent_is_not_taken(controller, machine):
    settled(controller, machine, 300)
    just_fits = controller.plan(0.95 * DEADLINE_S).budget
    assert controller.plan(0.96 * DEADLINE_S).budget == just_fits
    assert controller.plan(0.94 * DEADLINE_S).budget < just_fits


def test_a_single_hiccup_is_forgotten_soon(controller, machine):
    settled(controller, machine, 300)
    before = controller.plan(DEADLINE_S).budget
    machine(lambda frame: 3.0).play(controller, 1, DEADLINE_S)
    played = machine().play(controller, 60, DEADLINE_S)
    assert abs(played.budgets[-1] - before) < 0.05


def test_a_frame_that_cannot_make_it_is_skipped_but_never_two_in_a_row(controller, machine):
    settled(controller, machine)
    plans = [controller.plan(0.005) for _ in range(6)]
    assert [plan is None for plan in plans] == [True, False] * 3
    assert plans[1].budget == pytest.approx(controller.settings.floor)


def test_a_frame_that_is_late_by_little_at_worst_is_tried(controller, machine):
    settled(controller, machine)
    floor = controller.plan(0.005, may_skip=False)
    least_s = sum(floor.stage_seconds)
    assert controller.plan(0.9 * least_s) is not None
    assert controller.plan(0.7 * least_s) is None


def test_it_recovers_from_an_overload_that_made_everything_skip(controller, machine):
    settled(controller, machine)
    overloaded = machine(lambda frame: 10.0).play(controller, 40, DEADLINE_S)
    assert overloaded.skipped >= 18
    played = machine().play(controller, 150, DEADLINE_S)
    assert played.skipped < 10
    assert played.budgets[-1] > 0.5


def test_a_gone_load_is_forgotten_after_three_fast_frames(controller, machine):
    machine(lambda frame: 1.6, noise=0.0).play(controller, 100, DEADLINE_S)
    assert controller.slowdown == pytest.approx(1.6, abs=0.05)
    idle = machine(noise=0.0)
    idle.play(controller, 2, DEADLINE_S)
    assert controller.slowdown == pytest.approx(1.6, abs=0.05)
    idle.play(controller, 4, DEADLINE_S)
    assert controller.slowdown < 1.08


def test_a_single_hiccup_skips_no_frame(controller, machine):
    tight_s = 1.5 * EMPTY_S
    machine().play(controller, 60, tight_s)
    played = machine(lambda frame: 4.0 if frame == 5 else 1.0).play(controller, 40, tight_s)
    assert played.skipped == 0


def test_the_first_frames_stay_at_a_safe_budget(controller):
    assert controller.plan(10 * DEADLINE_S).budget <= 0.5


@pytest.mark.parametrize("time_left_s", [math.nan, math.inf, -math.inf, 1e6, -1e6])
def test_a_jumping_clock_gives_the_safe_budget(controller, machine, time_left_s):
    settled(controller, machine)
    plan = controller.plan(time_left_s)
    assert plan is not None
    assert plan.budget == 0.5
    assert not plan.timed


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -1.0, 1e6])
def test_an_impossible_measurement_teaches_nothing(controller, machine, seconds):
    settled(controller, machine)
    plan = controller.plan(DEADLINE_S)
    before = controller.slowdown, controller.margin
    controller.observe(plan, plan.keep, [seconds] + [0.0] * 9)
    assert (controller.slowdown, controller.margin) == before


def test_a_trimmed_frame_is_judged_by_what_it_computed(controller, table, machine):
    settled(controller, machine)
    plan = controller.plan(DEADLINE_S)
    before = controller.slowdown
    trimmed = tuple(k // 2 for k in plan.keep)
    controller.observe(plan, trimmed, [before * s for s in table.stage_seconds(trimmed)])
    assert controller.slowdown == pytest.approx(before)


def test_no_deadline_means_the_full_budget(manifest, table):
    settings = ControllerSettings(budget=0.8)
    assert Controller(manifest, table, settings).plan(None).budget == 0.8


def test_a_fixed_budget_never_changes_and_never_skips(manifest, table, machine):
    controller = Controller(manifest, table, ControllerSettings(mode="fixed", budget=0.3))
    played = machine(lambda frame: 1.0 + frame).play(controller, 50, 0.001)
    assert set(played.budgets) == {0.3}
    assert played.skipped == 0


def test_the_budget_stays_within_its_bounds(manifest, table, machine):
    settings = ControllerSettings(budget=0.7, budget_min=0.4)
    controller = Controller(manifest, table, settings)
    idle = machine().play(controller, 100, 10 * DEADLINE_S)
    assert idle.budgets[-1] == pytest.approx(0.7)
    busy = machine(lambda frame: 2.0).play(controller, 30, DEADLINE_S)
    assert min(busy.budgets) == pytest.approx(0.4)


def test_settings_may_change_while_it_runs(controller, machine):
    settled(controller, machine)
    controller.settings = ControllerSettings(mode="fixed", budget=0.25)
    assert controller.plan(DEADLINE_S).budget == 0.25
    controller.settings = ControllerSettings(budget=0.2)
    assert controller.plan(DEADLINE_S).budget <= 0.2


def test_a_stage_that_has_become_slower_is_learned(manifest, table):
    controller = Controller(manifest, table)
    slower = replace(table.stages[3], seconds=tuple(1.6 * s for s in table.stages[3].seconds))
    truth = LatencyTable((*table.stages[:3], slower, *table.stages[4:]))
    errors = []
    for frame in range(3000):
        plan = controller.plan(0.02 + 0.02 * math.sin(frame / 50.0) ** 2)
        if plan is None:
            continue
        actual = truth.stage_seconds(plan.keep)
        errors.append(abs(plan.stage_seconds[3] / actual[3] - 1.0))
        controller.observe(plan, plan.keep, actual)
    assert np.median(errors[-200:]) < 0.25 * np.median(errors[30:80])
    assert controller.table != table


def test_a_plan_says_what_it_costs(controller, table):
    plan = controller.plan(DEADLINE_S)
    assert len(plan.keep) == 8
    assert sum(plan.stage_seconds) == pytest.approx(table.total_seconds(plan.keep), rel=0.01)


def test_the_same_calls_give_the_same_plans(manifest, table, machine):
    runs = [machine(noise=0.05).play(Controller(manifest, table), 200, DEADLINE_S) for _ in "ab"]
    assert runs[0].budgets == runs[1].budgets


def test_gated_work_that_costs_nothing_is_all_done(manifest):
    stages = [("encoder", 0.01), *((b.name, 0.0) for b in manifest.blocks), ("heads", 0.0)]
    table = LatencyTable(tuple(StageLatency(name, (0,), (s,)) for name, s in stages))
    assert Controller(manifest, table).plan(0.02).budget == 0.5  # the safe one at first


def test_the_smallest_budget_fits_with_its_margin_on_a_machine_as_slow_as_it_is(controller, table):
    floor_s = table.total_seconds(controller.plan(-1.0, may_skip=False).keep)
    needed_s = 1.5 * floor_s * (1.0 + controller.margin)
    assert controller.floor_fits(1.01 * needed_s, slowdown=1.5)
    assert not controller.floor_fits(0.99 * needed_s, slowdown=1.5)
    controller.slowdown = 3.0
    assert controller.floor_seconds == pytest.approx(3.0 * floor_s, rel=0.01)


def test_a_visible_change_of_the_clock_scales_the_slowdown(controller):
    controller.slowdown = 2.0
    controller.rescale(1.5)
    assert controller.slowdown == pytest.approx(3.0)


def observed(controller: Controller, surprise: float, time_left_s: float = DEADLINE_S) -> float:
    """How the margin changes with a frame that took so much longer than was planned."""
    plan = controller.plan(time_left_s, may_skip=False)
    before = controller.margin
    controller.observe(plan, plan.keep, [(1.0 + surprise) * s for s in plan.stage_seconds])
    return controller.margin - before


def test_the_margin_follows_surprises_that_are_neither_large_nor_at_a_limit(controller, machine):
    settled(controller, machine)
    margin = controller.margin
    assert observed(controller, margin + 0.01) > 0.0
    assert observed(controller, 0.0) < 0.0
    assert observed(controller, 0.5) == 0.0, "a load, not a surprise"
    controller.slowdown = 1.0
    assert observed(controller, margin + 0.01, time_left_s=0.001) == 0.0, "at the floor"
    controller.settings = ControllerSettings(budget=0.105)
    assert observed(controller, margin + 0.01) == 0.0, "at the ceiling"


def test_a_larger_budget_that_costs_less_does_not_confuse_the_search(manifest, table):
    """Rows of a manifest may keep fewer pixels in sum than a smaller budget does."""
    dear, cheap = (1200,) * 8, (100,) * 8
    twisted = replace(manifest, budgets={"0.30": dear, "0.60": cheap})
    controller = Controller(twisted, table, ControllerSettings(budget_min=0.0))
    for time_left_s in (0.013, 0.016, 0.02, 0.03, 0.04):
        plan = controller.plan(time_left_s, may_skip=False)
        assert sum(plan.stage_seconds) <= time_left_s


def test_a_smallest_budget_that_costs_less_than_smaller_ones_is_expected_to(manifest, table):
    twisted = replace(manifest, budgets={"0.30": (1200,) * 8, "0.60": (100,) * 8})
    controller = Controller(twisted, table, ControllerSettings(budget_min=0.6))
    assert controller.floor_seconds == pytest.approx(table.total_seconds((100,) * 8))
    assert controller.plan(0.02) is not None


@pytest.mark.parametrize(
    "values", [{"mode": "magic"}, {"budget": 1.1}, {"budget": math.nan}, {"budget_min": -0.1}]
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ParameterError, match="budget"):
        ControllerSettings(**values)
