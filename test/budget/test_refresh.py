"""The table learns which stages are slow, not that the machine is busy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.budget import LatencyTable, StageLatency
from pag_ros.budget.refresh import FRAMES_A_BATCH, TableRefresh

PIXELS, BLOCKS = 1200, 8


def scaled(table: LatencyTable, position: int, factor: float) -> LatencyTable:
    """The table with one stage slower."""
    stage = table.stages[position]
    slower = replace(stage, seconds=tuple(factor * value for value in stage.seconds))
    return LatencyTable((*table.stages[:position], slower, *table.stages[position + 1 :]))


def play(refresh: TableRefresh, truth: LatencyTable, frames: int, load=lambda frame: 1.0) -> None:
    """Frames of slowly changing budgets, 2 % of noise in every stage."""
    rng = np.random.default_rng(0)
    for frame in range(frames):
        share = 0.5 + 0.4 * math.sin(frame / 70.0)
        keep = (round(share * PIXELS),) * BLOCKS
        noise = 1.0 + 0.02 * rng.normal(size=BLOCKS + 2)
        refresh.observe(keep, (load(frame) * noise * truth.stage_seconds(keep)).tolist())


def errors(table: LatencyTable, truth: LatencyTable) -> np.ndarray:
    """Relative error of each stage [budget, stage], the common factor left to the controller."""
    keeps = [(keep,) * BLOCKS for keep in range(200, 1001, 50)]
    ratio = np.array([table.stage_seconds(keep) for keep in keeps])
    actual = np.array([truth.stage_seconds(keep) for keep in keeps])
    common = ratio.sum(axis=1, keepdims=True) / actual.sum(axis=1, keepdims=True)
    return np.abs(ratio / actual / common - 1.0)


@pytest.mark.parametrize("position", [0, 3, 9])
@pytest.mark.parametrize("factor", [1.3, 0.75])
def test_a_stage_that_is_really_slower_or_faster_is_learned(table, position, factor):
    truth = scaled(table, position, factor)
    refresh = TableRefresh(table)
    play(refresh, truth, 3000)
    before, after = errors(table, truth), errors(refresh.table, truth)
    assert np.median(after) < 0.5 * np.median(before)
    assert after.max() < 0.25 * before.max()


def test_it_is_learned_on_a_busy_machine_too(table):
    truth = scaled(table, 3, 1.3)
    refresh = TableRefresh(table)
    play(refresh, truth, 3000, load=lambda frame: 1.6 if frame // 100 % 2 else 1.0)
    assert np.median(errors(refresh.table, truth)) < 0.5 * np.median(errors(table, truth))


def test_a_busy_machine_alone_changes_nothing(table):
    refresh = TableRefresh(table)
    play(refresh, table, 3000, load=lambda frame: 2.0)
    keep = (600,) * BLOCKS
    assert refresh.table.stage_seconds(keep) == pytest.approx(table.stage_seconds(keep), rel=0.02)


def test_stages_that_are_preempted_now_and_then_do_not_make_the_table_drift(table):
    rng = np.random.default_rng(0)
    refresh = TableRefresh(table)
    keep = (600,) * BLOCKS
    for _ in range(10_000):
        seconds = np.array(table.stage_seconds(keep))
        # Somebody else runs for 5 ms; a stage is hit in proportion to its duration.
        seconds[rng.choice(BLOCKS + 2, p=seconds / seconds.sum())] += 0.005 * (rng.random() < 0.3)
        refresh.observe(keep, seconds.tolist())
    assert refresh.table.total_seconds(keep) == pytest.approx(table.total_seconds(keep), rel=0.03)
    assert refresh.table.stage_seconds(keep) == pytest.approx(table.stage_seconds(keep), rel=0.1)


def test_a_coarse_table_is_corrected_between_its_points(table):
    ends = table.stages[0], table.stages[-1]
    blocks = (
        StageLatency(s.name, (0, 600, 1200), (s.at(0), s.at(600), s.at(1200)))
        for s in table.stages[1:-1]
    )
    coarse = LatencyTable((ends[0], *blocks, ends[1]))
    refresh = TableRefresh(coarse)
    keep = (300,) * BLOCKS
    for _ in range(2000):
        refresh.observe(keep, scaled(table, 3, 1.5).stage_seconds(keep))
    gain = refresh.table.stages[3].at(300) / refresh.table.stages[4].at(300)
    assert gain == pytest.approx(1.5, rel=0.05)


def test_points_far_from_the_keep_used_stay_as_calibrated(table):
    refresh = TableRefresh(table)
    keep = (200,) * BLOCKS
    for _ in range(2000):
        refresh.observe(keep, scaled(table, 3, 1.3).stage_seconds(keep))
    assert refresh.table.stages[3].at(1100) == table.stages[3].at(1100)


def test_the_table_waits_for_a_batch_of_frames(table):
    truth = scaled(table, 3, 1.3)
    refresh = TableRefresh(table)
    play(refresh, truth, FRAMES_A_BATCH - 1)
    assert refresh.table == table
    play(refresh, truth, 1)
    assert refresh.table != table


@settings(max_examples=30)
@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), st.integers(0, 300))
def test_no_measurement_moves_a_point_beyond_a_factor_of_two(seconds, keep):
    block = StageLatency("block0", (0, 64, 128, 192), (0.001, 0.001, 0.004, 0.005))
    table = LatencyTable(
        (
            StageLatency("encoder", (0,), (0.008,)),
            block,
            replace(block, name="block1"),
            StageLatency("heads", (0,), (0.003,)),
        )
    )
    refresh = TableRefresh(table)
    for frame in range(40 * FRAMES_A_BATCH):
        refresh.observe((keep, frame % 200), seconds)
    for new, old in zip(refresh.table.stages, table.stages, strict=True):
        ratio = np.array(new.seconds) / old.seconds
        assert ratio.min() >= 0.5 - 1e-9
        assert ratio.max() <= 2.0 + 1e-9


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 100.0])
def test_an_impossible_measurement_teaches_nothing(table, value):
    refresh = TableRefresh(table)
    keep = (600,) * BLOCKS
    for _ in range(3 * FRAMES_A_BATCH):
        refresh.observe(keep, (value, *table.stage_seconds(keep)[1:]))
        refresh.observe(keep, (*table.stage_seconds(keep)[:-1], value))
    assert refresh.table == table


def test_a_stage_that_takes_no_time_stays_at_none(table):
    free = scaled(table, 3, 0.0)
    refresh = TableRefresh(free)
    play(refresh, table, 200)
    assert refresh.table.stages[3].seconds == free.stages[3].seconds


@pytest.mark.parametrize(("blocks", "stages"), [(7, 10), (8, 9)])
def test_another_number_of_stages_is_refused(table, blocks, stages):
    with pytest.raises(ValueError, match="expected 8 blocks and 10 stages"):
        TableRefresh(table).observe((0,) * blocks, (0.001,) * stages)
