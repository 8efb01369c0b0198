"""The pictures of single held-out frames: which ones, and what is shown of them."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.image.pictures import color_depth, color_depth_error, color_labels
from pag_ros.lab.tuning.frame_pictures import LARGEST_RATIO, choose_frames, picture_frames
from pag_ros.lab.tuning.paired_scores import JUDGED, MAIN_METRICS, FrameScores, score_frames

DEPTH, NORMALS = MAIN_METRICS["depth"], MAIN_METRICS["normals"]


def scored(values, metric=DEPTH, budgets=(1.0,)):
    """At the budgets beside the first the best and the worst are others."""
    return [
        FrameScores(i, budget, {metric: 0.0}, {metric: v if budget == budgets[0] else -v}, {})
        for i, v in enumerate(values)
        for budget in budgets
    ]


def indices(chosen):
    return {name: frame.index for name, frame in chosen.items()}


def test_worst_and_best_are_by_the_tuned_model_at_the_first_budget():
    scores = scored([0.5, 0.9, 0.1, 0.7, 0.3], budgets=(1.0, 0.5))
    assert indices(choose_frames(scores, DEPTH)) == {"worst": 2, "median": 0, "best": 1}


def test_of_an_error_the_largest_is_the_worst():
    scores = scored([5.0, 9.0, 1.0], NORMALS)
    assert indices(choose_frames(scores, NORMALS)) == {"worst": 1, "median": 0, "best": 2}


def test_frames_without_a_score_are_not_chosen_and_none_twice():
    scores = [FrameScores(7, 1.0, {}, {}, {}), *scored([0.5])]
    assert indices(choose_frames(scores, DEPTH)) == {"worst": 0}
    assert choose_frames([FrameScores(7, 1.0, {}, {}, {})], DEPTH) == {}


def test_without_a_truth_first_middle_and_last_are_shown():
    scores = [FrameScores(i, 1.0, {}, {}, {}) for i in range(5)]
    assert indices(choose_frames(scores, None)) == {"first": 0, "middle": 2, "last": 4}


def test_a_frame_is_shown_with_its_truth_and_both_models(guessing, frames_of):
    frames, before, after = frames_of(3), guessing(1.5, label=0), guessing(1.1, label=1)
    held_out = score_frames(frames, before, after, (0.5, 1.0))
    frames.read.clear()
    worst, *_ = picture_frames(frames, before, after, held_out, DEPTH)
    assert frames.read == [0, 1, 2]
    assert worst.title == (
        "worst held-out frame (number 0), budget 0.50; depth, δ < 1.25: 0.0 % before, 50.0 % after"
    )
    assert {name: sorted(row) for name, row in worst.rows.items()} == {
        "truth": ["depth", "labels", "normals"],
        "before": ["depth", "depth error", "labels", "normals"],
        "after": ["depth", "depth error", "labels", "normals"],
    }
    assert (worst.image == frames[0].color).all()
    depth = {"truth": (2.0, 2.0), "before": (3.0, 6.0), "after": (2.2, 4.4)}
    for name, halves in depth.items():
        metres = np.repeat(np.float32(halves), 6)[:, None] * np.ones((1, 16), np.float32)
        assert (worst.rows[name]["depth"] == color_depth(metres, 0.3, 10.0)).all(), name
        if name != "truth":
            error = color_depth_error(metres, np.full_like(metres, 2.0), LARGEST_RATIO)
            assert (worst.rows[name]["depth error"] == error).all(), name


def test_true_labels_have_the_colours_of_the_model_s_classes_of_that_name(guessing, frames_of):
    frames, model = frames_of(1), guessing(label=1)
    frames.classes = ("floor", "sky")
    held_out = score_frames(frames, model, model, (1.0,))
    (pictures,) = picture_frames(frames, model, model, held_out, DEPTH)
    floor, nothing = np.full((6, 16), 1, np.uint8), np.full((6, 16), 255, np.uint8)
    colors = color_labels(np.concatenate([floor, nothing]), model.manifest.classes)
    assert (pictures.rows["truth"]["labels"] == colors).all()
    assert (pictures.rows["after"]["labels"][:6] == colors[:6]).all()


def test_without_true_depth_there_is_no_error_of_it(guessing, frames_of):
    frames, model = frames_of(1, kinds=("labels",)), guessing()
    held_out = score_frames(frames, model, model, (1.0,))
    (pictures,) = picture_frames(frames, model, model, held_out, MAIN_METRICS["segmentation"])
    assert sorted(pictures.rows["truth"]) == ["labels"]
    assert "depth error" not in pictures.rows["after"]


@pytest.mark.parametrize("main", [None, *JUDGED])
def test_no_frames_have_no_pictures(guessing, frames_of, main):
    assert picture_frames(frames_of(0), guessing(), guessing(), [], main) == []
