"""The simulator: what it plays is deterministic, its figures are those of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pag_ros.errors import ParameterError
from pag_ros.lab.simulation import (
    CONTROLLERS,
    HELD_OUT,
    TUNING,
    Played,
    SimulatedModel,
    Trace,
    make_controller,
    make_trace,
    play,
    recorded_trace,
    score,
)
from pag_ros.lab.simulation.machine import PERIOD_S, run_stages
from pag_ros.lab.simulation.traces import KINDS, STEP_S

FRAMES = 900


@pytest.fixture
def model(manifest) -> SimulatedModel:
    return SimulatedModel.of(manifest)


def played(model: SimulatedModel, controller: str, kind: str, **constants: float) -> Played:
    trace = make_trace(kind, HELD_OUT, 1, FRAMES * PERIOD_S)
    planning = make_controller(controller, model.manifest, model.table, **constants)
    return play(model, trace, planning, FRAMES)


def constant_trace(slowdown: float) -> Trace:
    return Trace("constant", (slowdown,), (), seed=3)


def test_the_whole_network_takes_four_fifths_of_the_period(model):
    full = model.manifest.keep_for(1.0)
    assert model.table.total_seconds(full) == pytest.approx(0.8 * PERIOD_S)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_every_frame_ends_and_the_same_way_each_time(model, controller, kind):
    first, second = played(model, controller, kind), played(model, controller, kind)
    assert first.latency_s == second.latency_s
    assert len(first.latency_s) == len(first.density) == len(first.error) == FRAMES
    assert all(0.0 <= density <= 1.0 for density in first.density)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_beats_the_oracle_in_misses(model, kind):
    oracle = score("oracle", [played(model, "oracle", kind)]).miss_rate
    for controller in CONTROLLERS:
        assert score(controller, [played(model, controller, kind)]).miss_rate >= oracle


def test_our_controller_misses_less_than_a_fixed_budget_under_load(model):
    rows = {name: score(name, [played(model, name, "steps")]) for name in ("deadline", "fixed")}
    assert rows["fixed"].miss_rate > 0.2
    assert rows["deadline"].miss_rate < 0.02


def test_a_machine_too_slow_for_a_fixed_budget_supersedes_frames(model):
    planning = make_controller("fixed", model.manifest, model.table, budget=1.0)
    run = play(model, constant_trace(2.0), planning, FRAMES)
    dropped = sum(math.isinf(latency) for latency in run.latency_s)
    assert dropped / FRAMES == pytest.approx(1.0 - 1.0 / 1.6, abs=0.05)


def test_trimming_saves_a_frame_that_the_load_hits_unforeseen(model):
    planning = make_controller("deadline", model.manifest, model.table)
    plan = planning.plan(10.0 * PERIOD_S, None, may_skip=True)
    noise = [1.0] * len(model.base)
    slow = constant_trace(1.3)
    left_s = sum(plan.stage_seconds) * 1.02
    late = run_stages(model, slow, plan, 0.0, math.inf, noise)
    trimmed = run_stages(model, slow, plan, 0.0, 0.96 * left_s, noise)
    assert late.keep_used == plan.keep
    assert sum(late.seconds) > left_s
    assert all(used <= keep for used, keep in zip(trimmed.keep_used, plan.keep, strict=True))
    assert sum(trimmed.seconds) < sum(late.seconds)


def test_load_may_change_within_a_frame(model):
    planning = make_controller("fixed", model.manifest, model.table, budget=1.0)
    plan = planning.plan(1.0, None, may_skip=True)
    noise = [1.0] * len(model.base)
    values = tuple([1.0] * 13 + [3.0] * 1000)
    ran = run_stages(model, Trace("jump", values, (), 0), plan, 0.0, math.inf, noise)
    ratio = np.array(ran.seconds) / np.array(plan.stage_seconds)
    assert ratio[0] == pytest.approx(1.0)
    assert ratio[-1] == pytest.approx(3.0)


def test_tuning_and_held_out_traces_share_nothing():
    assert not set(TUNING.seeds) & set(HELD_OUT.seeds)
    for kind in ("steps", "staircase", "bursts", "ramp"):
        tuning = make_trace(kind, TUNING, TUNING.seeds[0], 60.0)
        held_out = make_trace(kind, HELD_OUT, HELD_OUT.seeds[0], 60.0)
        assert max(tuning.slowdown) != max(held_out.slowdown)


def test_rises_are_where_the_load_jumps_up():
    trace = make_trace("steps", HELD_OUT, 2, 60.0)
    assert trace.rises
    for rise in trace.rises:
        assert trace.at(rise + STEP_S) > 1.2 * trace.at(rise - 2 * STEP_S)


def test_settling_counts_from_the_rise_to_ten_frames_in_time():
    rise = 100
    trace = Trace("made", (1.0,), (rise * PERIOD_S,), 0)
    run = Played(trace)
    for frame in range(300):
        missed = frame in (rise, rise + 1, rise + 6)
        run.latency_s.append(2 * PERIOD_S if missed else 0.01)
        run.missed.append(missed)
        run.density.append(1.0)
        run.error.append(0.0)
    row = score("made", [run])
    assert (row.settle_mean, row.settle_max) == (7.0, 7)
    assert row.miss_rate == pytest.approx(3 / 240)


def test_a_recorded_trace_keeps_its_times():
    trace = recorded_trace("mine", {"step_s": 0.5, "slowdown": [1, 2.0, 1]})
    assert [trace.at(t) for t in (0.0, 0.4, 0.6, 1.2, 99.0)] == [1, 1, 2, 1, 1]
    assert trace.rises == (0.5,)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"step_s": 0.1},
        {"step_s": 0.1, "slowdown": []},
        {"step_s": 0.1, "slowdown": "1234"},
        {"step_s": 0.1, "slowdown": [1.0, None]},
        {"step_s": 0.1, "slowdown": [1.0, float("nan")]},
        {"step_s": 0.0, "slowdown": [1.0]},
        {"step_s": float("inf"), "slowdown": [1.0]},
        {"step_s": 10.0, "slowdown": [1.0] * 2000},
    ],
)
def test_what_is_no_trace_is_refused_with_its_name(data):
    with pytest.raises(ParameterError, match="mine: "):
        recorded_trace("mine", data)
