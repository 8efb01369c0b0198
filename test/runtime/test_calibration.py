"""Calibration gives a sound table and keeps it for the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pag_ros.budget import Controller, LatencyTable, StageLatency, load_table, save_table
from pag_ros.runtime import open_session
from pag_ros.runtime.calibration import (
    calibrate,
    calibrate_quickly,
    keep_learned,
    latency_key,
    table_for,
)


@pytest.fixture
def session(tiny_model: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    session = open_session(tiny_model, "cpu", threads=1)
    yield session
    session.close()


@pytest.mark.parametrize("measure", [calibrate, calibrate_quickly])
def test_a_table_covers_every_stage_from_no_pixel_to_all(session, measure):
    table = measure(session)
    assert tuple(stage.name for stage in table.stages) == session.stages
    for stage in table.stages[1:-1]:
        assert stage.keep[0] == 0
        assert stage.keep[-1] == 48
    assert all(value > 0 for stage in table.stages for value in stage.seconds)


def test_progress_runs_to_its_end(session):
    seen: list[tuple[int, int]] = []
    calibrate(session, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_a_stored_table_is_used_and_a_missing_one_measured(session):
    measured = table_for(session)
    blocks = [StageLatency(name, (0, 48), (0.5, 0.75)) for name in session.stages[1:-1]]
    ends = [StageLatency(name, (0,), (0.25,)) for name in ("encoder", "heads")]
    stored = LatencyTable((ends[0], *blocks, ends[1]))
    assert measured != stored
    save_table(stored, latency_key(session))
    assert table_for(session) == stored


def test_what_was_learned_is_kept_for_a_calibrated_session_only(session):
    table = calibrate_quickly(session)
    learned = Controller(session.manifest, table)
    slower = replace(table.stages[0], seconds=(2.0 * table.stages[0].seconds[0],))
    learned.table = LatencyTable((slower, *table.stages[1:]))
    key = latency_key(session)
    keep_learned(session, learned)
    assert load_table(key, session.stages) is None
    save_table(table, key)
    keep_learned(session, learned)
    assert load_table(key, session.stages) == learned.table


def test_the_key_names_all_that_latency_depends_on(session):
    key = latency_key(session)
    assert session.manifest.sha256 in key
    assert session.backend in key
    assert "1 threads" in key
