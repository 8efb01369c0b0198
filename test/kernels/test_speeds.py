"""Which precision pays is measured; the clock here is the test's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pag_ros import kernels


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    kernels._bf16_is_faster.cache_clear()
    yield
    kernels._bf16_is_faster.cache_clear()


def durations(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[float]:
    """Lets the runs take so long, one after another and again; returns the ends asked for."""
    now, marks = 0.0, []
    for at in range(100):
        marks += [now, now + seconds[at % len(seconds)]]
        now = marks[-1]
    left = iter(marks)
    monkeypatch.setattr(kernels.time, "perf_counter", lambda: next(left))
    monkeypatch.setattr(kernels, "has_native_bf16", lambda: True)
    return marks


def test_the_faster_one_is_told(monkeypatch):
    durations(monkeypatch, 2.0, 1.0)  # float32 and bf16 take turns
    assert kernels.bf16_is_faster()


def test_instructions_that_are_slower_do_not_count(monkeypatch):
    durations(monkeypatch, 1.0, 2.0)
    assert not kernels.bf16_is_faster()


def test_a_run_that_was_disturbed_does_not_decide(monkeypatch):
    durations(monkeypatch, 2.0, 9.0, 2.0, 1.0)
    assert kernels.bf16_is_faster()


def test_without_instructions_nothing_is_measured(monkeypatch):
    durations(monkeypatch, 2.0, 1.0)
    monkeypatch.setattr(kernels, "has_native_bf16", lambda: False)
    assert not kernels.bf16_is_faster()
