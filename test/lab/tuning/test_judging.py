"""When a tuned model is called better, and the reasons that are given."""

from __future__ import annotations

import math

import pytest

from pag_ros.lab.tuning.changes import ScoreChange
from pag_ros.lab.tuning.judging import judge
from pag_ros.lab.tuning.paired_scores import JUDGED

DEPTH, ABSREL, SCALED, NORMALS, LABELS = JUDGED
RISING, FALLING, UNSURE, TOO_FEW = (0.05, 0.15), (-0.15, -0.05), (-0.05, 0.1), (-math.inf, math.inf)


def change(metric, interval, budget=1.0, before=0.5, after=0.6):
    return ScoreChange(metric, budget, before, after, *interval, 40)


def held_out(**outcomes):
    """Depth better at both budgets, the other heads undecided, but for what is given."""
    values = {"full": RISING, "half": RISING, "normals": UNSURE, "labels": UNSURE, "error": FALLING}
    values.update(outcomes)
    return [
        change(DEPTH, values["full"]),
        change(DEPTH, values["half"], 0.5),
        change(ABSREL, values["error"]),
        change(NORMALS, values["normals"], before=20.0, after=21.0),
        change(LABELS, values["labels"], 0.5),
    ]


def is_better(**outcomes):
    return judge(held_out(**outcomes), []).better


def test_better_is_what_has_better_depth_and_nothing_worse():
    assert is_better()
    assert is_better(half=UNSURE)
    assert is_better(normals=FALLING, labels=RISING)


@pytest.mark.parametrize("first", [UNSURE, FALLING, TOO_FEW])
def test_depth_must_be_better_at_the_first_budget(first):
    assert not is_better(full=first)
    assert not is_better(full=first, labels=RISING, normals=FALLING)


def test_depth_must_not_be_worse_at_another_budget():
    assert not is_better(half=FALLING)


def test_no_other_head_may_be_worse_at_any_budget():
    assert not is_better(normals=RISING)
    assert not is_better(labels=FALLING)


def test_other_metrics_are_told_and_decide_nothing():
    found = judge(held_out(error=RISING), [])
    assert found.better
    (told,) = [reason for reason in found.reasons if "AbsRel" in reason]
    assert told == "Worse, which decides nothing: depth, AbsRel at budget 1.00."
    assert not any("AbsRel" in reason for reason in judge(held_out(), []).reasons)


def test_without_true_depth_what_was_taught_decides():
    changes = [change(NORMALS, UNSURE), change(LABELS, RISING)]
    found = judge(changes, [], ("segmentation", "normals"))
    assert found.better
    assert found.main == LABELS
    assert not judge(changes, [], ("normals", "segmentation")).better
    assert not judge(
        [change(NORMALS, RISING), change(LABELS, RISING)], [], ("segmentation",)
    ).better


def test_true_depth_decides_whatever_was_taught():
    found = judge(held_out(full=UNSURE, labels=RISING), [], ("segmentation",))
    assert found.main == DEPTH
    assert not found.better


@pytest.mark.parametrize("changes", [[], [change(LABELS, RISING)]])
def test_without_a_truth_of_what_was_taught_nothing_is_better(changes):
    found = judge(changes, [], ("depth", "normals"))
    assert not found.better
    assert found.main is None
    assert "no held-out frame has a truth" in found.reasons[0].lower()


def test_reasons_are_sentences_with_numbers():
    first, others, *_ = judge(held_out(), []).reasons
    assert first == (
        "Better: depth, δ < 1.25 at budget 1.00, 50.0 % before, 60.0 % after; "
        "difference +5.0 to +15.0 points on 40 frames."
    )
    assert others == "At budget 0.50: better, too."
    unsure = judge(held_out(half=UNSURE), []).reasons
    assert "At budget 0.50: neither better nor worse by what can be told." in unsure
    worse = judge(held_out(half=FALLING, normals=RISING), []).reasons
    assert any(r.startswith("Worse: depth, δ < 1.25 at budget 0.50") for r in worse)
    assert any(r.startswith("Worse: normals, median angle at budget 1.00, 20.0°") for r in worse)
    assert not any(r.startswith("At budget 0.50") for r in worse)
    assert judge(held_out(full=TOO_FEW), []).reasons[0].endswith("; 40 frames are too few to tell.")
    gained = judge(held_out(normals=FALLING), []).reasons
    assert any(r.startswith("Better: normals, median angle") for r in gained)


def test_no_reason_is_told_twice_and_what_is_undecided_only_of_the_main_metric():
    for outcomes in ({}, {"full": FALLING, "half": FALLING}, {"normals": RISING}):
        reasons = judge(held_out(**outcomes), []).reasons
        assert len(set(reasons)) == len(reasons)
        assert not any("segmentation" in reason for reason in reasons)


def test_what_was_forgotten_is_told_and_decides_nothing():
    rooms = [
        change(DEPTH, FALLING, 1.0, before=1.0, after=0.969),
        change(DEPTH, FALLING, 0.5, before=1.0, after=0.95),
        change(NORMALS, UNSURE, 1.0, before=10.0, after=10.2),
        change(LABELS, RISING, 1.0, before=0.5, after=0.6),
    ]
    found = judge(held_out(), rooms)
    assert found.better
    assert found.forgotten == tuple(rooms[:2])
    assert found.reasons[-1] == (
        "Forgotten on rendered rooms, by more than 3 %: depth, δ < 1.25 (+5.0 % at budget 0.50)."
    )
    kept = judge(held_out(), rooms[2:])
    assert kept.forgotten == ()
    assert kept.reasons[-1] == "On rendered rooms no score lost more than 3 % of its value."
    assert judge(held_out(), []).reasons[-1].endswith("was not measured.")


def test_an_error_that_came_from_nothing_is_forgotten():
    found = judge(held_out(), [change(NORMALS, RISING, before=0.0, after=1.0)])
    assert "from 0 at budget 1.00" in found.reasons[-1]


def test_where_nothing_can_have_been_forgotten_nothing_is_said_of_it():
    measured, never = judge(held_out(), []), judge(held_out(), None)
    assert never.better
    assert never.reasons == measured.reasons[:-1]
    assert len(judge([], None).reasons) == 1
