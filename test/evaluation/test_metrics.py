"""Scores against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pag_ros.evaluation.metrics import (
    DEPTH_PROTOCOLS,
    DepthProtocol,
    DepthScores,
    NormalScores,
    SegmentationScores,
    TaskScores,
    angles_deg,
)
from pag_ros.manifest import NO_LABEL

NAN = float("nan")


def depth(*values):
    return np.array([values], np.float32)


def turned(*degrees):
    """[1,n,3] unit vectors turned away from (0, 0, -1) by these angles."""
    angles = np.radians(degrees)
    return np.stack([np.sin(angles), 0 * angles, -np.cos(angles)], axis=-1)[None].astype(np.float32)


def test_depth_errors_by_hand():
    scores = DepthScores()
    scores.add(depth(2.0, 3.0, 8.0, 9.0), depth(2.0, 4.0, 4.0, NAN))
    # ratios 1, 4/3, 2: below 1.25: one; below 1.5625: two; below 1.953: two.
    logs = [0.0, math.log(3 / 4), math.log(2)]
    mean_square = sum(e * e for e in logs) / 3
    assert scores.scores() == pytest.approx(
        {
            "delta1": 1 / 3,
            "delta2": 2 / 3,
            "delta3": 2 / 3,
            "AbsRel": (0 + 1 / 4 + 1) / 3,
            "SqRel": (0 + 1 / 4 + 4) / 3,
            "RMSE": math.sqrt((0 + 1 + 16) / 3),
            "RMSElog": math.sqrt(mean_square),
            "SILog": 100 * math.sqrt(mean_square - (sum(logs) / 3) ** 2),
        }
    )


def test_a_ratio_of_exactly_1_25_is_not_below_it():
    scores = DepthScores()
    scores.add(depth(5.0), depth(4.0))
    assert scores.scores()["delta1"] == 0.0


def test_depth_is_averaged_over_frames_not_pixels():
    scores = DepthScores()
    scores.add(depth(1.0, 1.0, 1.0), depth(1.0, 1.0, 1.0))
    scores.add(depth(2.0, 9.0, 9.0), depth(1.0, NAN, NAN))
    scores.add(depth(2.0), depth(NAN))
    assert scores.frames == 2
    assert scores.scores()["AbsRel"] == pytest.approx(0.5)


def test_depth_beyond_the_cap_is_not_scored_and_predictions_are_clipped():
    scores = DepthScores(DepthProtocol(cap_m=10.0))
    scores.add(depth(50.0, 1.0, np.inf), depth(10.0, 20.0, 10.0))
    assert scores.scores()["RMSE"] == 0.0


def test_a_missing_prediction_counts_as_the_cap():
    scores = DepthScores(DepthProtocol(cap_m=10.0))
    scores.add(depth(NAN), depth(5.0))
    assert scores.scores()["AbsRel"] == pytest.approx(1.0)


def test_median_scaling_takes_out_a_common_factor():
    scores = DepthScores(DepthProtocol(median_scaling=True))
    scores.add(depth(0.5, 1.0, 1.5), depth(1.0, 2.0, 3.0))
    assert scores.scores()["AbsRel"] == pytest.approx(0.0)


def test_silog_ignores_a_common_factor():
    scores = DepthScores()
    scores.add(depth(0.5, 1.0, 1.5), depth(1.0, 2.0, 3.0))
    assert scores.scores()["SILog"] == pytest.approx(0.0, abs=1e-6)


def test_the_nyu_crop_is_rows_45_to_471_and_columns_41_to_601():
    truth = np.ones((480, 640), np.float32)
    prediction = np.full((480, 640), 2.0, np.float32)
    prediction[45:471, 41:601] = 1.0
    scores = DepthScores(DEPTH_PROTOCOLS["nyu"])
    scores.add(prediction, truth)
    assert scores.scores()["AbsRel"] == 0.0
    prediction[45, 41] = prediction[470, 600] = 2.0
    scores.add(prediction, truth)
    assert scores.scores()["AbsRel"] == pytest.approx(2 / (426 * 560) / 2)


def test_shares_of_a_crop_that_mean_whole_pixels_are_not_rounded_down():
    """.29 of 100 rows is 28.999999999999996 to a computer."""
    counted = DepthProtocol(crop=(0.29, 0.58, 0.29, 0.58)).counts(np.ones((100, 100), np.float32))
    rows, columns = np.nonzero(counted)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (29, 57, 29, 57)


def test_the_garg_crop_is_rows_153_to_371_and_columns_44_to_1197_of_a_kitti_image():
    truth = np.full((375, 1242), 20.0, np.float32)
    prediction = np.full((375, 1242), 40.0, np.float32)
    prediction[153:371, 44:1197] = 20.0
    scores = DepthScores(DEPTH_PROTOCOLS["kitti-garg"])
    scores.add(prediction, truth)
    assert scores.scores()["AbsRel"] == 0.0
    prediction[153, 44] = prediction[370, 1196] = 40.0
    scores.add(prediction, truth)
    assert scores.scores()["AbsRel"] == pytest.approx(2 / (218 * 1153) / 2)


def test_normal_angles_are_pooled_over_frames():
    scores = NormalScores()
    scores.add(turned(0, 10, 20), turned(0, 0, 0))
    scores.add(turned(25, 50), turned(0, 0))
    result = scores.scores()
    assert result["mean"] == pytest.approx(21.0, abs=1e-3)
    assert result["median"] == pytest.approx(20.0, abs=0.011)
    assert result["RMSE"] == pytest.approx(math.sqrt((100 + 400 + 625 + 2500) / 5), abs=1e-3)
    assert (result["<11.25"], result["<22.5"], result["<30"]) == (0.4, 0.6, 0.8)


def test_normals_without_truth_do_not_count_and_without_prediction_are_90_degrees_off():
    truth = turned(0, 0, 0)
    truth[0, 1] = NAN
    truth[0, 2, 0] = NAN
    prediction = turned(0, 30, 30)
    prediction[0, 0] = NAN
    scores = NormalScores()
    scores.add(prediction, truth)
    assert scores.scores()["mean"] == pytest.approx(90.0)
    assert scores.scores()["<30"] == 0.0
    scores.add(turned(0), turned(0))
    assert scores.scores()["mean"] == pytest.approx(45.0), "two pixels count"


def test_only_the_direction_of_a_predicted_normal_counts():
    assert angles_deg(5.0 * turned(40)[0], turned(0)[0]) == pytest.approx([40.0])


def test_opposite_normals_are_180_degrees_apart():
    assert angles_deg(turned(180)[0], turned(0)[0]) == pytest.approx([180.0])


def test_segmentation_by_hand():
    scores = SegmentationScores(classes=4)
    scores.add(
        np.array([[0, 0, 1, 1, 2, NO_LABEL, 3, 1]], np.uint8),
        np.array([[0, 1, 1, 1, 0, 1, NO_LABEL, 4]], np.uint8),  # there is no class 4
    )
    # class 0: hit 1 of 2, predicted 2 -> 1/3; class 1: hit 2 of 4, predicted 2 -> 2/4;
    # class 2: predicted once, never true -> 0; class 3 only where the truth is unlabelled.
    assert scores.class_iou()[:3] == pytest.approx([1 / 3, 1 / 2, 0.0])
    assert np.isnan(scores.class_iou()[3])
    assert scores.scores() == pytest.approx(
        {"mIoU": (1 / 3 + 1 / 2) / 3, "pixel_accuracy": 3 / 6, "mean_accuracy": 0.5}
    )


def test_every_class_weighs_the_same_in_the_mean_accuracy():
    scores = SegmentationScores(classes=2)
    scores.add(np.array([[0, 0, 0, 0]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert scores.scores()["pixel_accuracy"] == 0.75
    assert scores.scores()["mean_accuracy"] == 0.5


def test_segmentation_is_one_matrix_over_all_frames():
    both, one_by_one = SegmentationScores(3), SegmentationScores(3)
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 3, (2, 2, 5, 7), np.uint8)
    both.add(labels.reshape(10, 7), truth.reshape(10, 7))
    for i in range(2):
        one_by_one.add(labels[i], truth[i])
    np.testing.assert_array_equal(both.confusion, one_by_one.confusion)


def test_scores_of_parts_make_the_scores_of_the_whole():
    whole, parts = TaskScores(3), (TaskScores(3), TaskScores(3))
    for part in parts:
        for scores in (whole, part):
            rng = np.random.default_rng(parts.index(part))
            d, g = rng.uniform(1, 5, (2, 4, 6)).astype(np.float32)
            scores.add_depth(d, g)
            scores.add_normals(turned(*rng.uniform(0, 90, 9)), turned(*rng.uniform(0, 90, 9)))
            scores.add_labels(*rng.integers(0, 3, (2, 4, 6), np.uint8))
    parts[0].include(parts[1])
    assert parts[0].class_iou() == whole.class_iou()
    for task, values in whole.scores().items():
        assert parts[0].scores()[task] == pytest.approx(values)


def test_nothing_scored_gives_nothing():
    assert DepthScores().scores() == {}
    assert NormalScores().scores() == {}
    assert SegmentationScores(3).scores() == {}
