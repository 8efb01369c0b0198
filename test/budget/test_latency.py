"""Latency tables: monotone, interpolated, and kept safely on disk."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.budget import (
    LatencyTable,
    StageLatency,
    load_table,
    monotone_fit,
    save_table,
    table_path,
)

KEY = "model | device | cpu"
STAGES = ("encoder", "block0", "heads")


@pytest.fixture
def small() -> LatencyTable:
    return LatencyTable(
        (
            StageLatency("encoder", (0,), (0.008,)),
            StageLatency("block0", (0, 100, 200), (0.001, 0.002, 0.006)),
            StageLatency("heads", (0,), (0.003,)),
        )
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_stored_table_may_be_read_by_whom_the_umask_lets(small):
    before = os.umask(0o022)
    try:
        path = save_table(small, "key")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


def test_times_between_measured_points_are_interpolated(small):
    assert small.stage_seconds((150,)) == pytest.approx((0.008, 0.004, 0.003))
    assert small.total_seconds((50,)) == pytest.approx(0.0125)


def test_times_beyond_the_measured_points_are_those_of_the_ends(small):
    assert small.stages[1].at(500) == 0.006


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_the_fit_never_falls_and_keeps_the_mean(values):
    fit = monotone_fit(values)
    assert len(fit) == len(values)
    assert (np.diff(fit) >= 0).all()
    assert fit.mean() == pytest.approx(np.mean(values), abs=1e-9)


def test_the_fit_leaves_what_never_falls_and_pools_what_does():
    assert monotone_fit([1, 2, 2, 5]).tolist() == [1, 2, 2, 5]
    assert monotone_fit([1, 4, 2, 3, 6]).tolist() == [1, 3, 3, 3, 6]


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [
        ((), ()),
        ((0, 1), (0.1,)),
        ((1, 0), (0.1, 0.2)),
        ((0, 1), (0.2, 0.1)),
        ((0,), (float("nan"),)),
        ((0,), (-1.0,)),
        ((0,), (1e300,)),
        ((10**400,), (0.1,)),
    ],
)
def test_an_impossible_stage_is_refused(keep, seconds):
    with pytest.raises(ValueError, match="block0"):
        StageLatency("block0", keep, seconds)


def test_a_saved_table_comes_back(small):
    path = save_table(small, KEY)
    assert path == table_path(KEY)
    assert load_table(KEY, STAGES) == small
    assert list(path.parent.iterdir()) == [path]


def test_a_table_belongs_to_its_key_and_its_stages(small):
    save_table(small, KEY)
    assert load_table("model | other device | cpu", STAGES) is None
    assert load_table(KEY, ("encoder", "block9", "heads")) is None
    table_path("stolen").write_text(table_path(KEY).read_text())
    assert load_table("stolen", STAGES) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"format": 1}',
        '{"format": 2, "key": "model | device | cpu", "stages": []}',
        '{"format": 1, "key": "model | device | cpu", "stages": [3]}',
        "[" * 100_000,
        " " * (1 << 21),
    ],
)
def test_a_damaged_file_counts_as_missing(content):
    path = table_path(KEY)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert load_table(KEY, STAGES) is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("keep", [0, 10**400, 10**401]),
        ("keep", [0, 100, 1 << 31]),
        ("keep", [False, True, 2]),
        ("seconds", [1e300, 1e300, 1e300]),
        ("seconds", [0.001, 0.002, 10**400]),
        ("seconds", [0.001, 0.002, float("nan")]),
    ],
)
def test_a_table_of_impossible_numbers_counts_as_missing_and_it_is_said(small, field, values):
    path = save_table(small, KEY)
    data = json.loads(path.read_text())
    data["stages"][1][field] = values
    path.write_text(json.dumps(data))
    said = []
    assert load_table(KEY, STAGES, said.append) is None
    (sentence,) = said
    assert str(path) in sentence
    assert f"block0: {field}" in sentence


def test_a_table_that_is_missing_is_not_worth_a_word():
    assert load_table(KEY, STAGES, lambda sentence: pytest.fail(sentence)) is None


def test_a_table_with_falling_times_counts_as_missing(small):
    path = save_table(small, KEY)
    data = json.loads(path.read_text())
    data["stages"][1]["seconds"].reverse()
    path.write_text(json.dumps(data))
    assert load_table(KEY, STAGES) is None


def test_a_folder_in_the_place_of_the_file_counts_as_missing():
    table_path(KEY).mkdir(parents=True)
    assert load_table(KEY, STAGES) is None
