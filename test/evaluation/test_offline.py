"""Every frame at every budget, the same scores each time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.bags import Bag, Topics
from pag_ros.evaluation.offline import evaluate_bag
from pag_ros.evaluation.results import to_json
from pag_ros.manifest import GatedBlock, LabelClass, Manifest
from pag_ros.runtime import Prediction

HEIGHT, WIDTH = 12, 16


class GuessingSession:
    """Says 2 m, facing the camera, class 1; half the depth where its block did not run."""

    manifest = Manifest(
        name="guess",
        sha256="0" * 64,
        height=HEIGHT,
        width=WIDTH,
        focal_range=(10.0, 30.0),
        depth_range_m=(0.3, 10.0),
        classes=tuple(LabelClass(f"class{i}", (i, i, i)) for i in range(4)),
        blocks=(GatedBlock("block", HEIGHT, WIDTH, 8, 100),),
        dense_macs=1,
        heads=("depth", "normals", "segmentation"),
        license="none",
        training_data="none",
    )
    backend = "guess"
    stages = ("encoder", "block", "heads")

    def infer(self, image, focal_px, keep, deadline=None, thresholds=None):
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert focal_px == 20.0
        ran = (np.arange(HEIGHT * WIDTH) < keep[0]).reshape(HEIGHT, WIDTH)
        return Prediction(
            depth=np.where(ran, 2.0, 1.0).astype(np.float32),
            normals=np.tile(np.float32([0, 0, -1]), (HEIGHT, WIDTH, 1)),
            labels=np.ones((HEIGHT, WIDTH), np.uint8),
            confidence=np.ones((HEIGHT, WIDTH), np.float32),
            boundary=None,
            computed=ran.astype(np.uint8),
            keep_used=tuple(keep),
            stage_seconds=(0.001, 0.001, 0.001),
        )

    def close(self):
        pass


def evaluated(path, **options):
    with Bag(path, options.pop("topics", None)) as bag:
        return evaluate_bag(bag, GuessingSession(), **options)


def without_times(evaluation):
    data = to_json(evaluation)
    for run in data["runs"]:
        del run["latency_ms"]
        for frame in run["frames"]:
            del frame["latency_ms"]
    return data


def test_scores_at_each_budget(room_bag):
    full, half = evaluated(room_bag, budgets=(1.0, 0.5)).runs
    # True depths 1, 2, 3, 4 m; the guess is 2 m everywhere, or 1 m in the half not computed.
    assert full.scores.tasks["depth"]["delta1"] == pytest.approx(1 / 4)
    assert full.scores.tasks["depth"]["AbsRel"] == pytest.approx((1 + 0 + 1 / 3 + 1 / 2) / 4)
    assert half.scores.tasks["depth"]["delta1"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 0) / 4)
    assert full.scores.tasks["depth (median-scaled)"]["AbsRel"] == pytest.approx(0.0)
    assert full.scores.tasks["normals"]["mean"] == pytest.approx(0.0)
    assert full.scores.tasks["segmentation"]["pixel_accuracy"] == pytest.approx(1 / 4)
    assert [r.density for r in half.records] == pytest.approx([0.5] * 4)


def test_two_evaluations_are_the_same(room_bag):
    first = without_times(evaluated(room_bag))
    assert json.dumps(first) == json.dumps(without_times(evaluated(room_bag)))


def test_the_limit_is_kept(write_room_bag):
    evaluation = evaluated(write_room_bag(), budgets=(1.0,), limit=2)
    assert len(evaluation.runs[0].records) == 2
    assert len(evaluation.samples) == 2


def test_a_bag_without_truth_is_timed_only(write_room_bag):
    (run,) = evaluated(write_room_bag(truth=False), budgets=(1.0,)).runs
    assert run.scores.tasks == {}
    assert run.latencies_ms.size == 4


def test_truth_that_is_not_wanted_is_not_scored(write_room_bag):
    (run,) = evaluated(write_room_bag(), budgets=(1.0,), topics=Topics(depth="none")).runs
    assert set(run.scores.tasks) == {"normals", "segmentation"}


@pytest.mark.parametrize("options", [{"budgets": (0.0,)}, {"budgets": (1.5,)}, {"limit": 0}])
def test_options_out_of_range_are_refused(write_room_bag, options):
    with pytest.raises(ParameterError):
        evaluated(write_room_bag(), **options)


def test_a_bag_without_a_readable_frame_says_why(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    broken = messages.image(grey, "rgb8")
    broken.step = 1
    content = [("/image", 0, broken), ("/camera_info", 0, messages.camera_info())]
    with pytest.raises(BagError, match="step 1"):
        evaluated(messages.bag(tmp_path / "b", "mcap", content))
