"""Better is only what is better beyond doubt, and worse nowhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from pag_ros.lab.tuning.comparing import FramePair, PairedScores
from pag_ros.lab.tuning.judging import (
    MeasuredChange,
    changes,
    interval_of_mean,
    judge,
)

DELTA1, NORMALS = ("depth", "delta1"), ("normals", "median")
GAIN = MeasuredChange(*DELTA1, 1.0, 20, 0.7, 0.9, 0.15, 0.25)
RNG = np.random.default_rng(1)


def paired(before: list[float], after: list[float], key=DELTA1) -> PairedScores:
    pairs = [FramePair({key: b}, {key: a}, {}) for b, a in zip(before, after, strict=True)]
    return PairedScores("rooms", {1.0: pairs})


def test_the_same_frames_are_compared() -> None:
    before = list(RNG.uniform(0.2, 0.9, 30))
    (change,) = changes(paired(before, [value + 0.02 for value in before]))
    assert (change.before, change.after) == (
        pytest.approx(np.mean(before)),
        pytest.approx(np.mean(before) + 0.02),
    )
    assert change.low == pytest.approx(0.02), "a difference that is everywhere the same is certain"
    assert change.is_better
    assert not change.is_worse


def test_the_direction_is_that_of_the_measure() -> None:
    (change,) = changes(paired([20.0] * 12, [10.0] * 12, NORMALS))
    assert change.is_better
    assert change.relative_loss == pytest.approx(-0.5)
    (change,) = changes(paired([10.0] * 12, [20.0] * 12, NORMALS))
    assert change.is_worse
    assert change.relative_loss == pytest.approx(1.0)
    (change,) = changes(paired([0.8] * 12, [0.6] * 12))
    assert change.is_worse
    assert change.relative_loss == pytest.approx(0.25)


def test_frames_without_the_truth_do_not_count() -> None:
    scores = paired([0.5] * 10, [0.6] * 10)
    scores.frames[1.0].append(FramePair({}, {}, {"labels": 0.9}))
    (change,) = changes(scores)
    assert change.frames == 10


def test_noise_is_undecided_and_few_frames_say_nothing() -> None:
    before = list(RNG.uniform(0.4, 0.6, 40))
    after = list(RNG.uniform(0.4, 0.6, 40))
    (change,) = changes(paired(before, after))
    assert not change.is_better
    assert not change.is_worse
    (change,) = changes(paired([0.5] * 3, [0.9] * 3))
    assert (change.low, change.high) == (-math.inf, math.inf)
    assert not change.is_better


def test_neighbours_that_are_alike_make_the_interval_wider() -> None:
    independent = RNG.normal(0.0, 1.0, 400)
    alike = np.repeat(RNG.normal(0.0, 1.0, 80), 5)
    widths = [high - low for low, high in map(interval_of_mean, (independent, alike))]
    assert widths[0] == pytest.approx(4 / math.sqrt(400), rel=0.2)
    assert widths[1] > 1.6 * widths[0]


def test_the_interval_is_the_same_every_time() -> None:
    values = RNG.normal(0.0, 1.0, 50)
    assert interval_of_mean(values) == interval_of_mean(values)


def test_a_gain_is_better_unless_something_is_worse() -> None:
    worse = replace(
        GAIN, task="normals", metric="median", before=9.0, after=12.0, low=2.0, high=4.0
    )
    doubtful = replace(GAIN, low=-0.01)
    assert judge([GAIN], []).is_better
    assert not judge([GAIN, worse], []).is_better
    assert not judge([doubtful], []).is_better
    assert not judge([], []).is_better
    assert "worse: normals median 9.000 -> 12.000" in judge([GAIN, worse], []).reasons[1]
    assert judge([doubtful], []).reasons[0].startswith("no clear gain")
    few = replace(GAIN, low=-math.inf, high=math.inf)
    assert judge([few], []).reasons[0].startswith("too few held-out frames")


def test_what_was_forgotten_is_said_and_decides_nothing() -> None:
    lost = replace(GAIN, before=0.60, after=0.57, low=-0.04, high=-0.02)
    little = replace(lost, after=0.59)
    judgement = judge([GAIN], [lost, little])
    assert judgement.is_better
    assert judgement.reasons[1:] == (
        "lost on rendered rooms: depth delta1 0.600 -> 0.570 at budget 1 (20 frames)",
    )
