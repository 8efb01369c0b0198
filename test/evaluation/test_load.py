"""Load by patterns, and figures that count what is late, dropped or beyond saving."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pag_ros.evaluation.load import load_row
from pag_ros.evaluation.load_injector import LEVELS, PATTERNS, PHASE_S, LoadInjector
from pag_ros.evaluation.results import FrameRecord


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


def test_late_dropped_and_unsaveable_frames_are_told_apart():
    records = [
        FrameRecord(0.0, 20.0, 0.8),
        FrameRecord(0.1, 30.0, 0.6),
        FrameRecord(0.2, 41.0, 0.5),
        FrameRecord(0.3, 60.0, 0.0),
        FrameRecord(0.4, None, None),
    ]
    row = load_row("deadline", 1.0, "steps", records, 40.0, {"processed": 4})
    assert row.frames == 5
    assert row.miss_rate == pytest.approx(3 / 5)
    assert row.miss_low < row.miss_rate < row.miss_high
    assert row.saveable_miss_rate == pytest.approx(2 / 4)
    assert row.density_mean == pytest.approx(1.9 / 4)
    assert row.p50_ms == pytest.approx(35.5)
    assert row.p99_over_deadline == pytest.approx(row.p99_ms / 40.0)


def test_without_any_output_there_is_no_latency():
    row = load_row("fixed", 0.5, "ramp", [FrameRecord(0.0)] * 3, 40.0, {})
    assert row.miss_rate == 1.0
    assert row.p50_ms is row.p99_over_deadline is row.density_mean is None


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
