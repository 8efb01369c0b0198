"""How far a run is: by iterations or by the clock, resumed or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from pag_ros.errors import ParameterError
from pag_ros.lab.training.config import Phase, TrainConfig
from pag_ros.lab.training.pacing import Pacing

PHASE = Phase((64, 48), 2, 6, 1e-3, 1e-4, 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def by_iterations() -> TrainConfig:
    return TrainConfig(phases=(PHASE, replace(PHASE, iterations=4)), validate_every=4)


def by_clock(minutes: float = 1.0) -> TrainConfig:
    return TrainConfig(phases=(replace(PHASE, iterations=1),), minutes=minutes)


def test_by_iterations_phases_follow_one_another() -> None:
    pacing = Pacing(by_iterations())
    seen = []
    for number in range(2):
        while pacing.is_in(number):
            seen.append((number, pacing.progress_in(number), pacing.progress))
            pacing.step()
    assert seen[:2] == [(0, 0.0, 0.0), (0, pytest.approx(1 / 6), pytest.approx(0.1))]
    assert seen[6] == (1, 0.0, pytest.approx(0.6))
    assert len(seen) == 10
    assert pacing.progress == 1.0
    assert pacing.seconds_left is None


def test_by_iterations_checks_come_every_so_often_and_at_the_end() -> None:
    pacing, due = Pacing(by_iterations()), []
    while pacing.progress < 1.0:
        pacing.step()
        if pacing.is_check_due():
            due.append(pacing.done)
    assert due == [4, 8, 10]


def test_the_clock_ends_a_run_and_spreads_its_checks() -> None:
    clock = Clock()
    pacing, due = Pacing(by_clock(), clock), []
    clock.now += 1000.0  # preparations
    pacing.begin()
    while pacing.is_in(0):
        assert pacing.progress_in(0) == pacing.progress
        clock.now += 4.0
        pacing.step()
        if pacing.is_check_due():
            due.append(pacing.done)
    assert pacing.done == 15
    assert due == [2, 3, 5, 6, 8, 9, 11, 12, 14, 15]
    assert pacing.seconds_left == 0.0


def test_within_a_step_progress_stands_still() -> None:
    clock = Clock()
    pacing = Pacing(by_clock(), clock)
    clock.now += 30.0
    assert pacing.progress == 0.0
    pacing.step()
    assert pacing.progress == pytest.approx(0.5)


def test_a_resumed_run_has_only_the_time_that_was_left() -> None:
    clock = Clock()
    pacing = Pacing(by_clock(), clock)
    pacing.resume(7, 45.0)
    assert (pacing.done, pacing.progress) == (7, pytest.approx(0.75))
    assert pacing.seconds_left == pytest.approx(15.0)
    pacing.step()
    assert not pacing.is_check_due(), "the one at .7 was made before"
    clock.now += 4.0
    pacing.step()
    assert pacing.is_check_due()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minutes": 0.0}, "minutes: expected a number above 0"),
        ({"minutes": 1.0, "phases": (PHASE, PHASE)}, "minutes: of a run of one phase only"),
        ({"final_share": 1.5}, "final_share: expected 0 to 1"),
        ({"mixture": (1.0, 0.0)}, "mixture: expected a list of numbers above 0"),
        ({"keeps_best": 1}, "keeps_best: expected true or false"),
        ({"patience": -1}, "patience: expected a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        replace(TrainConfig(phases=(PHASE,)), **changes)
