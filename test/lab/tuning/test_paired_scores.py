"""Both models on the same frames: scores where there is a truth, agreement where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.tuning.paired_scores import (
    ANGLE_BETWEEN,
    JUDGED,
    MAIN_METRICS,
    SAME_LABEL,
    score_frames,
)
from pag_ros.manifest import LabelClass
from pag_ros.runtime import open_session

DEPTH, ABSREL, SCALED, NORMALS, LABELS = JUDGED


def test_every_frame_is_scored_at_every_budget_by_both_models(guessing, frames_of):
    frames, seen = frames_of(3), []
    before, after = guessing(1.5, 20.0, label=1), guessing(1.1, 10.0, label=0)
    scores = score_frames(frames, before, after, (1.0, 0.5), lambda: seen.append(len(frames.read)))
    assert [(s.index, s.budget) for s in scores] == [(i, b) for i in range(3) for b in (1.0, 0.5)]
    assert frames.read == [0, 1, 2], "each frame is read once"
    assert seen == [1, 2, 3]
    full, half = scores[:2]
    assert (full.before[DEPTH], full.after[DEPTH], half.after[DEPTH]) == (0.0, 1.0, 0.5)
    assert full.before[ABSREL] == pytest.approx(0.5)
    assert full.after[ABSREL] == pytest.approx(0.1)
    assert (full.before[SCALED], full.after[SCALED]) == (1.0, 1.0)
    assert full.before[NORMALS] == pytest.approx(20.0, abs=0.02)
    assert full.after[NORMALS] == pytest.approx(10.0, abs=0.02)
    assert (full.before[LABELS], full.after[LABELS]) == (0.5, 0.5)
    assert full.agreement == {}


def test_heads_without_a_truth_are_compared_with_each_other(guessing, frames_of):
    before, after = guessing(tilt_deg=5.0), guessing(tilt_deg=-10.0)
    (scores,) = score_frames(frames_of(1, kinds=("depth",)), before, after, (1.0,))
    assert set(scores.before) == set(scores.after) == {DEPTH, ABSREL, SCALED}
    assert scores.agreement[ANGLE_BETWEEN] == pytest.approx(15.0, abs=0.02)
    assert scores.agreement[SAME_LABEL] == 1.0
    (other,) = score_frames(frames_of(1, kinds=("depth",)), before, guessing(label=0), (1.0,))
    assert other.agreement[SAME_LABEL] == 0.0


def test_a_truth_without_a_pixel_that_counts_is_none(guessing, frames_of):
    frames = frames_of(1, kinds=("depth", "normals"), metres=50.0)
    (scores,) = score_frames(frames, guessing(), guessing(), (1.0,))
    assert set(scores.before) == {NORMALS}
    assert set(scores.agreement) == {SAME_LABEL}


def test_the_dataset_says_which_depths_count(guessing, frames_of):
    frames = frames_of(1, metres=50.0)
    frames.protocol = DepthProtocol(cap_m=80.0)
    (scores,) = score_frames(frames, guessing(25.0), guessing(), (1.0,))
    assert (scores.before[DEPTH], scores.after[DEPTH]) == (1.0, 0.0)


def test_labels_are_scored_by_the_dataset_s_names(guessing, frames_of):
    frames = frames_of(1)
    frames.classes = ("Floor", "sky")  # what it calls floor is the upper half
    (scores,) = score_frames(frames, guessing(label=1), guessing(label=0), (1.0,))
    assert (scores.before[LABELS], scores.after[LABELS]) == (1.0, 0.0)
    frames.classes = ("sky", "sea")
    (scores,) = score_frames(frames, guessing(label=1), guessing(label=0), (1.0,))
    assert LABELS not in scores.before
    assert scores.agreement[SAME_LABEL] == 0.0


def test_a_model_without_a_head_is_not_asked_for_it(guessing, frames_of):
    models = [guessing(heads=("depth",)) for _ in range(2)]
    (scores,) = score_frames(frames_of(1), *models, (1.0,))
    assert set(scores.before) == {DEPTH, ABSREL, SCALED}
    assert scores.agreement == {}


def test_a_budget_given_twice_counts_once(guessing, frames_of):
    assert len(score_frames(frames_of(2), guessing(), guessing(), (1.0, 1.0))) == 2


@pytest.mark.parametrize(
    "other",
    [{"classes": (LabelClass("wall", (0, 0, 0)),)}, {"heads": ("depth",)}],
)
def test_models_with_other_heads_or_classes_are_refused(guessing, frames_of, other):
    with pytest.raises(ParameterError, match="other heads or classes"):
        score_frames(frames_of(), guessing(), guessing(**other), (1.0,))


def test_budgets_out_of_range_are_refused(guessing, frames_of):
    with pytest.raises(ParameterError, match="budgets must lie in"):
        score_frames(frames_of(), guessing(), guessing(), ())


def test_an_exported_model_equals_itself(tiny_model, rooms):
    session = open_session(tiny_model, "cpu")
    scores = score_frames(RoomPictures([rooms]), session, session, (1.0, 0.5))
    session.close()
    assert len(scores) == 12
    assert all(score.before == score.after for score in scores)
    assert all(set(score.before) == set(JUDGED) for score in scores)
    assert len({score.before[MAIN_METRICS["normals"]] for score in scores}) > 1
    assert np.isfinite([value for score in scores for value in score.before.values()]).all()
