"""Every frame at every budget, the same scores each time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from floor_scenes import look

from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.bags import Bag, Topics
from pag_ros.evaluation.offline import evaluate_bag
from pag_ros.evaluation.passes import SCALE
from pag_ros.evaluation.results import to_json
from pag_ros.image.camera_info import Intrinsics
from pag_ros.manifest import NO_LABEL, BlockSpec, LabelClass, Manifest
from pag_ros.runtime import Prediction
from pag_ros.runtime.floor_scale import Mount

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
        blocks=(BlockSpec("block", HEIGHT, WIDTH, 8, 100),),
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


def test_a_budget_out_of_range_is_told_before_the_bag_is_read(write_room_bag):
    with pytest.raises(ParameterError, match="budgets"):
        evaluated(write_room_bag(lag_ns=70_000_000_000), budgets=(2.0,))


def test_a_bag_without_a_readable_frame_says_why(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    broken = messages.image(grey, "rgb8")
    broken.step = 1
    content = [("/image", 0, broken), ("/camera_info", 0, messages.camera_info())]
    with pytest.raises(BagError, match="step 1"):
        evaluated(messages.bag(tmp_path / "b", "mcap", content))


def test_truth_stamped_later_is_scored_and_the_lag_is_told(write_room_bag):
    evaluation = evaluated(write_room_bag(lag_ns=30_000_000), budgets=(1.0,))
    assert evaluation.runs[0].scores.tasks["depth"]["delta1"] == pytest.approx(1 / 4)
    depth = to_json(evaluation)["truth"]["depth"]
    assert (depth["messages"], depth["matched"], depth["scored"]) == (4, 4, 4)
    assert depth["offset_ms"]["median"] == pytest.approx(30.0)
    assert "+30.0 ms" in evaluation.truth[0].summary()


def test_stamps_that_stand_still_give_each_frame_its_own_truth(write_room_bag):
    evaluation = evaluated(write_room_bag(stamp_ns=0), budgets=(1.0,))
    tasks = evaluation.runs[0].scores.tasks
    # Any other pairing has another mean error: true depths are 1, 2, 3 and 4 m, the guess 2 m.
    assert tasks["depth"]["AbsRel"] == pytest.approx((1 + 0 + 1 / 3 + 1 / 2) / 4)
    assert [record.time_s for record in evaluation.runs[0].records] == pytest.approx(
        [0.0, 0.1, 0.2, 0.3]
    )
    assert any("stamps stand still" in text for text in evaluation.truth[0].warnings())


def test_truth_that_belongs_to_no_image_ends_the_evaluation_before_it_begins(write_room_bag):
    class NeverRun(GuessingSession):
        def infer(self, *arguments, **options):
            raise AssertionError("nothing should have been inferred")

    with (
        Bag(write_room_bag(lag_ns=70_000_000_000)) as bag,
        pytest.raises(BagError, match=r"/truth/depth: not one of 4 .* --sync-tolerance 69700"),
    ):
        evaluate_bag(bag, NeverRun())


def test_truth_without_a_pixel_that_counts_is_unusable(messages, tmp_path):
    nothing = {
        "depth": (np.zeros((12, 16), np.uint16), "16UC1"),
        "normals": (np.full((12, 16, 3), np.nan, np.float32), "32FC3"),
        "labels": (np.full((12, 16), NO_LABEL, np.uint8), "mono8"),
    }
    content = [
        ("/image", 0, messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8")),
        ("/camera_info", 0, messages.camera_info()),
    ]
    content += [(f"/{kind}", 1, messages.image(*picture)) for kind, picture in nothing.items()]
    evaluation = evaluated(messages.bag(tmp_path / "b", "mcap", content), budgets=(1.0,))
    assert evaluation.runs[0].scores.tasks == {}
    for tally in evaluation.truth:
        assert (tally.scored, tally.unusable.total()) == (0, 1)
        assert "no pixel" in tally.failure()


def test_the_bag_s_images_are_accounted_for(messages, tmp_path):
    content = [("/camera_info", 0, messages.camera_info())]
    for i in range(6):
        image = messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8", i * 10**8)
        image.step = 1 if i == 1 else image.step
        content.append(("/image", i * 10**8, image))
    path = messages.bag(tmp_path / "b", "mcap", content)
    assert evaluated(path, budgets=(1.0,), limit=3).counters == {
        "images in the bag": 6,
        "images evaluated": 3,
        "images left out": 1,
        "images not reached": 2,
    }


def test_truth_beyond_the_limit_is_no_failure(messages, tmp_path):
    content = [("/camera_info", 0, messages.camera_info())]
    for i in range(4):
        grey = np.zeros((12, 16, 3), np.uint8)
        content.append(("/image", i * 10**8, messages.image(grey, "rgb8", i * 10**8)))
    for stamp in (3 * 10**8, 9 * 10**8):
        depth = messages.image(np.ones((12, 16), np.float32), "32FC1", stamp)
        content.append(("/depth", 3 * 10**8 + 1, depth))
    path = messages.bag(tmp_path / "b", "mcap", content)
    (tally,) = evaluated(path, budgets=(1.0,), limit=2).truth
    assert (tally.scored, tally.unread, tally.unmatched.total()) == (0, 1, 1)
    assert tally.failure() is None


class FloorSession(GuessingSession):
    """Sees a floor before a camera that is 1.2 m high, at four fifths of its distance."""

    scene = look(1.2, 40.0, camera=Intrinsics(20.0, 20.0, 8.0, 6.0), shape=(HEIGHT, WIDTH))

    def infer(self, *arguments, **more):
        return replace(
            super().infer(*arguments, **more),
            depth=self.scene.depth * np.float32(0.8),
            normals=self.scene.normals,
        )


def test_the_cameras_height_scales_the_depth(room_bag):
    for mount, scale in (
        (None, None),
        (Mount.pitched(1.2, 40.0), "x1.25 in the median"),
        (Mount.pitched(1.8, 40.0), "x1.87 in the median"),
    ):
        with Bag(room_bag) as bag:
            about = evaluate_bag(bag, FloorSession(), (1.0,), mount=mount).about
        if scale is None:
            assert SCALE not in about
        else:
            assert "seen in 4 of 4 frames" in about[SCALE]
            assert scale in about[SCALE]
