"""What tuning changed: pairs of frames, intervals by the bootstrap, and which way is better."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pag_ros.errors import ParameterError
from pag_ros.lab.tuning.changes import (
    BETTER,
    UNDECIDED,
    WORSE,
    Agreement,
    ScoreChange,
    find_agreements,
    find_changes,
    mean_interval,
    stretch_for,
)
from pag_ros.lab.tuning.paired_scores import ANGLE_BETWEEN, JUDGED, SAME_LABEL, FrameScores

DEPTH, ABSREL, SCALED, NORMALS, LABELS = JUDGED


def frames(before, after, metric=DEPTH, budget=1.0):
    return [
        FrameScores(i, budget, {metric: b}, {metric: a}, {})
        for i, (b, a) in enumerate(zip(before, after, strict=True))
    ]


def change(metric=DEPTH, before=0.5, after=0.6, low=0.05, high=0.15):
    return ScoreChange(metric, 1.0, before, after, low, high, 40)


def test_frames_are_compared_with_themselves():
    """Frames differ by far more than both models do: only pairs show the difference."""
    before = np.random.default_rng(0).uniform(0.1, 0.8, 40)
    (found,) = find_changes(frames(before, before + 0.02), stretch=1)
    assert found.before == pytest.approx(before.mean())
    assert found.after == pytest.approx(before.mean() + 0.02)
    assert (found.low, found.high) == pytest.approx((0.02, 0.02))
    assert found.frames == 40


def test_the_interval_is_of_after_less_before():
    (found,) = find_changes(frames([0.5] * 40, [0.3] * 40))
    assert (found.low, found.high) == pytest.approx((-0.2, -0.2))


@pytest.mark.parametrize(
    ("metric", "rising", "falling"),
    [
        (DEPTH, BETTER, WORSE),
        (ABSREL, WORSE, BETTER),
        (SCALED, BETTER, WORSE),
        (NORMALS, WORSE, BETTER),
        (LABELS, BETTER, WORSE),
    ],
)
def test_every_metric_has_its_own_direction(metric, rising, falling):
    assert change(metric, low=0.05, high=0.15).outcome == rising
    assert change(metric, low=-0.15, high=-0.05).outcome == falling
    assert change(metric, low=-0.05, high=0.05).outcome == UNDECIDED
    assert change(metric, low=0.0, high=0.0).outcome == UNDECIDED


def test_every_metric_and_budget_is_told_apart():
    rows = frames([0.5] * 4, [0.6] * 4) + frames([0.4] * 3, [0.3] * 3, budget=0.5)
    rows += frames([9.0] * 5, [8.0] * 5, NORMALS)
    found = find_changes(rows, stretch=1)
    assert [(c.metric, c.budget, c.frames) for c in found] == [
        (DEPTH, 1.0, 4),
        (DEPTH, 0.5, 3),
        (NORMALS, 1.0, 5),
    ]
    assert [c.outcome for c in found] == [BETTER, WORSE, BETTER]


def test_frames_without_a_truth_do_not_count():
    rows = frames([0.5] * 4, [0.6] * 4)
    rows.insert(2, FrameScores(9, 1.0, {}, {}, {SAME_LABEL: 0.5, ANGLE_BETWEEN: 2.0}))
    rows.append(FrameScores(10, 1.0, {}, {}, {SAME_LABEL: 1.0}))
    assert [c.frames for c in find_changes(rows, stretch=1)] == [4]
    assert find_agreements(rows) == [
        Agreement(ANGLE_BETWEEN, 1.0, 2.0, 1),
        Agreement(SAME_LABEL, 1.0, 0.75, 2),
    ]


def test_the_interval_of_single_frames_is_that_of_the_mean():
    values = np.random.default_rng(3).normal(0.1, 1.0, 400)
    low, high = mean_interval(values, stretch=1)
    error = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.01)


def test_few_stretches_widen_the_interval_as_students_t_says():
    values = np.array([0.0, 1.0, 0.0, 1.0])
    low, high = mean_interval(values, stretch=1)
    # The draws' ends are those of 4 tosses of a coin: 0 and 1; t of 3 degrees over the normal's.
    assert high - 0.5 == pytest.approx(0.5 * math.sqrt(4 / 3) * 3.1824 / 1.9600, abs=0.02)
    assert low == pytest.approx(1.0 - high, abs=0.02)


def test_stretches_keep_neighbours_together():
    """Stretches of a sawtooth all have the same mean; its single frames do not."""
    sawtooth = np.tile([0.0, 1.0, 2.0, 3.0, 4.0], 10)
    assert mean_interval(sawtooth, stretch=5) == pytest.approx((2.0, 2.0))
    low, high = mean_interval(sawtooth, stretch=1)
    assert high - low > 0.5


def test_intervals_of_frames_that_resemble_each_other_hold_the_true_mean():
    rng = np.random.default_rng(5)
    held = {1: 0, 5: 0}
    for _ in range(200):
        values = _recording(rng, frames=60, correlation=0.5)
        for stretch in held:
            low, high = mean_interval(values, stretch)
            held[stretch] += low <= 0.0 <= high
    assert held[5] >= 174
    assert held[1] <= 164, "single frames are too sure of themselves"


def _recording(rng, frames, correlation):
    values = np.zeros(frames + 20)
    for i, noise in enumerate(rng.normal(size=frames + 19), 1):
        values[i] = correlation * values[i - 1] + noise
    return values[20:]


def test_the_interval_lies_around_the_mean_though_ends_are_drawn_more_rarely():
    values = np.zeros(30)
    values[[0, 1, -2, -1]] = 1.0
    low, high = mean_interval(values, stretch=10)
    assert low < values.mean() < high
    assert values.mean() - low > 0.05, "the draws' own mean is 0.06, that of the frames 0.13"


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).normal(size=50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_too_few_frames_decide_nothing():
    (found,) = find_changes(frames([0.1] * 14, [0.9] * 14), stretch=5)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.outcome == UNDECIDED
    (found,) = find_changes(frames([0.1] * 15, [0.9] * 15), stretch=5)
    assert found.outcome == BETTER


def test_a_stretch_has_a_frame_at_least():
    with pytest.raises(ParameterError, match="stretch must be 1 or more"):
        mean_interval(np.zeros(9), stretch=0)


@pytest.mark.parametrize(
    ("metric", "before", "after", "loss"),
    [
        (DEPTH, 0.5, 0.4, 0.2),
        (DEPTH, 0.5, 0.6, -0.2),
        (NORMALS, 10.0, 12.0, 0.2),
        (NORMALS, 10.0, 8.0, -0.2),
        (NORMALS, 0.0, 1.0, math.inf),
        (DEPTH, 0.0, 0.1, -math.inf),
        (DEPTH, 0.0, 0.0, 0.0),
    ],
)
def test_a_loss_is_a_share_of_the_score_before(metric, before, after, loss):
    assert change(metric, before, after).relative_loss == pytest.approx(loss)


@pytest.mark.parametrize(("frames", "stretch"), [(3, 1), (12, 3), (18, 4), (20, 5), (300, 5)])
def test_of_few_frames_fewer_are_drawn_together(frames, stretch):
    assert stretch_for(frames) == stretch
