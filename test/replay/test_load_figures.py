"""Load by patterns, and figures that count what is late, dropped or beyond saving."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pag_ros.evaluation.results import FrameRecord
from pag_ros.replay.load_figures import Blocks, Setting, load_rows, rises
from pag_ros.replay.load_injector import LEVELS, PATTERNS, PHASE_S, LoadInjector


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_stay_within_their_levels_and_use_them(pattern):
    duties = [PATTERNS[pattern](seconds / 2) for seconds in range(400)]
    assert min(duties) == 0.0
    assert max(duties) == pytest.approx(LEVELS[-1])
    assert duties == [PATTERNS[pattern](seconds / 2) for seconds in range(400)]


def test_steps_go_up_and_down():
    duties = [PATTERNS["steps"](PHASE_S * (step + 0.5)) for step in range(7)]
    assert duties == [0.0, 0.2, 0.4, 0.6, 0.4, 0.2, 0.0]


def test_hogs_take_cpu_time_and_end_with_the_block():
    with LoadInjector("square", hogs=1, memory=True) as injector:
        injector._begin.value = time.monotonic() - PHASE_S  # in the middle of a busy phase
        pids = [process.pid for process in injector._processes]
        assert len(pids) == 2
        until = time.monotonic() + 20.0
        while _cpu_seconds(pids[0]) < 1.0 and time.monotonic() < until:
            time.sleep(0.1)
            injector._begin.value = time.monotonic() - PHASE_S
        assert _cpu_seconds(pids[0]) >= 1.0
    assert not any(process.is_alive() for process in injector._processes)


def test_no_pattern_means_no_process():
    with LoadInjector("none", hogs=3, memory=True) as injector:
        assert injector._processes == []


def record(time_s, latency_ms=None, density=0.5, late=False):
    return FrameRecord(time_s, latency_ms, None if latency_ms is None else density, late)


def blocks_of(*blocks):
    return Blocks([tuple(block) for block in blocks], {"processed": 1})


def test_misses_are_counted_at_the_listener_and_by_the_node():
    setting = Setting("deadline", 1.0, "steps")
    frames = [
        record(0.0, 20.0, 0.8),
        record(0.1, 41.0, 0.6),
        record(0.2, 60.0, 0.4, late=True),
        record(0.3),
    ]
    (row,) = load_rows({setting: blocks_of(frames)}, 40.0)
    assert row.misses.frames == 4
    assert row.misses.rate == pytest.approx(3 / 4)
    assert row.misses.low < row.misses.rate < row.misses.high
    assert row.node_misses.rate == pytest.approx(2 / 4)
    assert row.density_mean == pytest.approx(0.6)
    assert row.p50_ms == pytest.approx(41.0)
    assert row.p99_over_deadline == pytest.approx(row.p99_ms / 40.0)
    assert row.feasible is None  # nothing fixed ran, so nobody knows
    assert row.best_fixed is None


def test_the_parts_of_the_way_are_those_of_the_frames_that_arrived():
    def parts(network):
        return {"to_node": 1.0, "network": network}

    frames = [FrameRecord(i / 10, 20.0, 0.5, False, parts(10.0 * i)) for i in range(5)]
    frames.append(FrameRecord(0.5, None, 0.5, False, parts(1e6)))
    (row,) = load_rows({Setting("deadline", 1.0, "ramp"): blocks_of(frames)}, 40.0)
    assert row.parts["to_node"] == (1.0, 1.0)
    assert row.parts["network"] == (pytest.approx(20.0), pytest.approx(38.0))
    assert "delivery" not in row.parts


def test_every_camera_is_held_against_its_own_frames():
    runs = {}
    for camera, floor_ms in (("camera1", 20.0), ("camera2", 50.0)):
        runs[Setting("deadline", 1.0, "ramp", camera)] = blocks_of([record(0.2, 20.0)])
        runs[Setting("fixed", 0.1, "ramp", camera)] = blocks_of([record(0.2, floor_ms)])
    rows = {str(row.setting): row for row in load_rows(runs, 40.0)}
    assert set(rows) == {f"{m} camera{n}" for m in ("deadline", "fixed 0.1") for n in (1, 2)}
    assert rows["deadline camera1"].feasible.frames == 1
    assert rows["deadline camera2"].feasible is None


def test_only_seconds_that_the_smallest_budget_survives_are_feasible():
    ours, small, large = (
        Setting(*s, "ramp") for s in (("deadline", 1.0), ("fixed", 0.1), ("fixed", 1.0))
    )
    in_time, late = 20.0, 50.0
    rows = load_rows(
        {
            ours: blocks_of([record(0.2, late), record(0.7, in_time), record(1.2, late)]),
            small: blocks_of([record(0.3, in_time), record(1.1, late)], [record(0.4, in_time)]),
            large: blocks_of([record(0.3, late), record(1.1, late)]),
        },
        40.0,
    )
    assert rows[0].feasible.frames == 2
    assert rows[0].feasible.rate == pytest.approx(1 / 2)
    assert rows[0].best_fixed == 0.1  # the large one missed more than our interval
    assert rows[0].settle_mean is None  # a ramp has no rises


def test_settling_counts_frames_after_a_rise():
    ours, small = Setting("deadline", 1.0, "square"), Setting("fixed", 0.1, "square")
    times = [i / 10 for i in range(80)]
    slow = {51, 53}  # the load rises at PHASE_S, frame 50
    frames = [record(t, 50.0 if i in slow else 20.0) for i, t in enumerate(times)]
    rows = load_rows(
        {ours: blocks_of(frames, frames), small: blocks_of([record(t, 20.0) for t in times])}, 40.0
    )
    assert (rows[0].settle_mean, rows[0].settle_max) == (4.0, 4)
    assert rows[1].settle_max == 0


def test_loads_rise_where_their_level_does():
    assert rises("square", 12.0) == [PHASE_S]
    assert rises("steps", 25.0) == [PHASE_S, 2 * PHASE_S, 3 * PHASE_S]
    assert rises("random", 25.0) == []


def test_without_any_output_there_is_no_latency():
    setting = Setting("fixed", 0.5, "ramp")
    (row,) = load_rows({setting: blocks_of([record(0.0)] * 3)}, 40.0)
    assert row.misses.rate == row.node_misses.rate == 1.0
    assert row.p50_ms is row.p99_over_deadline is row.density_mean is None


def test_without_frames_there_is_no_row():
    with pytest.raises(ValueError, match="no frames"):
        load_rows({Setting("fixed", 0.5, "ramp"): Blocks()}, 40.0)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
