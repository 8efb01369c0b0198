"""Labelled pictures run at several budgets: scores, samples, and labels of other lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from floor_scenes import CAMERA, look

from pag_ros.errors import ParameterError
from pag_ros.evaluation.passes import SCALE, Classes, Labelled, Passes, describe_scales
from pag_ros.evaluation.truth import Truth
from pag_ros.manifest import NO_LABEL, BlockSpec, LabelClass, Manifest
from pag_ros.runtime import Prediction
from pag_ros.runtime.outputs import NAMES
from pag_ros.runtime.scale_filter import ScaleReport, ScaleSource

SIZE = 12, 16
CLASSES = tuple(LabelClass(f"class{i}", (i, i, i)) for i in range(3))


class GuessingSession:
    """2 m where its block ran and 1 m elsewhere, class 1, a boundary down the middle."""

    manifest = Manifest(
        name="guess",
        sha256="0" * 64,
        height=SIZE[0],
        width=SIZE[1],
        focal_range=(10.0, 30.0),
        depth_range_m=(0.3, 10.0),
        classes=CLASSES,
        blocks=(BlockSpec("block", *SIZE, 8, 100),),
        dense_macs=1,
        heads=("depth", "normals", "segmentation", "boundary"),
        license="none",
        training_data="none",
    )
    backend = "guess"
    stages = ("encoder", "block", "heads")

    def infer(self, image, focal_px, keep, deadline=None, thresholds=None):
        ran = (np.arange(SIZE[0] * SIZE[1]) < keep[0]).reshape(SIZE)
        return Prediction(
            depth=np.where(ran, 2.0, 1.0).astype(np.float32),
            normals=np.tile(np.float32([0, 0, -1]), (*SIZE, 1)),
            labels=np.ones(SIZE, np.uint8),
            confidence=np.ones(SIZE, np.float32),
            boundary=line().astype(np.float32),
            computed=ran.astype(np.uint8),
            keep_used=tuple(keep),
            stage_seconds=(0.001, 0.001, 0.001),
        )

    def close(self):
        pass


def line():
    drawn = np.zeros(SIZE, bool)
    drawn[:, 8] = True
    return drawn


def picture(truth, **changes):
    values = {"title": "one", "image": np.zeros((*SIZE, 3), np.uint8), "focal_px": 20.0}
    return Labelled(**{**values, **changes}, truth=truth)


def passes(budgets=(1.0, 0.5), classes=None):
    return Passes(GuessingSession(), budgets, classes or Classes(CLASSES), None, NAMES)


def test_every_task_with_a_truth_is_scored_at_every_budget():
    truth = Truth(
        depth=np.full(SIZE, 2.0, np.float32),
        normals=np.tile(np.float32([0, 0, -1]), (*SIZE, 1)),
        labels=np.ones(SIZE, np.uint8),
        boundary=line()[None],
    )
    every = passes()
    every.process(picture(truth), shown=False)
    full, half = every.runs()
    assert (full.name, full.budget, half.budget) == ("budget 1.00", 1.0, 0.5)
    assert full.scores.tasks["depth"]["delta1"] == 1.0
    assert half.scores.tasks["depth"]["delta1"] == 0.5
    assert full.scores.tasks["normals"]["mean"] == 0.0
    assert full.scores.tasks["segmentation"]["mIoU"] == 1.0
    assert full.scores.tasks["boundary"]["ODS"] == pytest.approx(1.0)
    assert [record.density for record in half.records] == [0.5]


def test_the_delta1_of_each_picture_is_kept_at_the_first_budget():
    every = passes((0.5, 1.0))
    for metres in (2.0, 1.0, 8.0):
        every.process(picture(Truth(np.full(SIZE, metres, np.float32))), shown=False)
    every.process(picture(Truth()), shown=False)
    assert every.delta1[:3] == [0.5, 0.5, 0.0]
    assert np.isnan(every.delta1[3])


def test_labels_are_scored_by_the_ids_of_another_list():
    of_model = np.full(256, 254, np.uint8)
    of_model[1] = 0
    every = passes(classes=Classes(CLASSES[1:2], of_model))
    labels = np.zeros(SIZE, np.uint8)
    labels[:6] = NO_LABEL
    every.process(picture(Truth(labels=labels)), shown=False)
    scores = every.runs()[0].scores
    assert scores.tasks["segmentation"]["pixel_accuracy"] == 1.0
    assert scores.class_iou == (1.0,)


def test_a_sample_shows_first_and_smallest_budget_and_what_is_known():
    every = passes((0.5, 1.0, 0.25))
    truth = Truth(depth=np.ones(SIZE, np.float32), boundary=line()[None])
    every.process(picture(truth), shown=False)
    every.process(picture(truth, title="two"), shown=True)
    (sample,) = every.samples
    assert sample.title == "two"
    assert list(sample.rows) == ["budget 0.50", "budget 0.25", "ground truth"]
    outputs = ["depth", "normals", "labels", "boundary", "computed"]
    assert list(sample.rows["budget 0.50"]) == outputs
    assert list(sample.rows["ground truth"]) == ["depth", "boundary"]


def test_cameras_are_told_apart():
    every = passes((1.0,))
    for camera, metres in (("left", 2.0), ("right", 8.0)):
        truth = Truth(np.full(SIZE, metres, np.float32))
        every.process(picture(truth, camera=camera), shown=False)
    scores = every.runs()[0].scores
    assert scores.tasks["depth"]["delta1"] == 0.5
    assert scores.cameras["left"]["depth"]["delta1"] == 1.0


@pytest.mark.parametrize("budgets", [(), (0.0,), (1.5,), (float("nan"),)])
def test_budgets_out_of_range_are_refused(budgets):
    with pytest.raises(ParameterError, match="budgets must lie in"):
        passes(budgets)


class FloorSession(GuessingSession):
    """Sees a floor, at a share of its distance that the picture's grey tells in hundredths."""

    manifest = replace(GuessingSession.manifest, blocks=(), height=120, width=160)
    stages = ("encoder", "heads")
    scene = look()

    def infer(self, image, focal_px, keep, deadline=None, thresholds=None):
        return Prediction(
            depth=self.scene.depth * np.float32(image[0, 0, 0] / 100.0),
            normals=self.scene.normals,
            labels=self.scene.labels,
            confidence=np.ones_like(self.scene.depth),
            boundary=None,
            computed=np.zeros_like(self.scene.labels),
            keep_used=(),
            stage_seconds=(0.001, 0.001),
        )


def on_floor(*pictures, **changes):
    """Passes of pictures (time in seconds, grey) of a camera whose mount is known."""
    session = FloorSession()
    every = Passes(session, (1.0,), Classes(CLASSES), None, NAMES)
    for time_s, grey in pictures:
        every.process(
            Labelled(
                title="floor",
                image=np.full((120, 160, 3), grey, np.uint8),
                focal_px=CAMERA.fx,
                truth=Truth(session.scene.depth),
                time_s=time_s,
                **{"intrinsics": CAMERA, "mount": session.scene.mount} | changes,
            ),
            shown=False,
        )
    return every


def test_a_known_mount_scales_the_depth():
    (run,) = on_floor((0.0, 80)).runs()
    assert run.scores.tasks["depth"]["AbsRel"] == pytest.approx(0.0, abs=1e-3)
    without = on_floor((0.0, 80), mount=None)
    assert without.runs()[0].scores.tasks["depth"]["AbsRel"] == pytest.approx(0.2, abs=1e-3)
    assert without.scales == []


def test_the_scale_of_pictures_that_follow_one_another_changes_slowly():
    every = on_floor((0.0, 80), (0.1, 56))
    assert 1.25 < every.scales[1].factor < 1.35
    jumped = on_floor((5.0, 80), (0.1, 56))
    assert jumped.scales[1].factor == pytest.approx(1.25 / 0.7, rel=1e-3)


def test_a_picture_that_is_alone_is_scaled_by_itself():
    every = on_floor((0.0, 80), (0.0, 56), is_alone=True)
    assert every.scales[1].factor == pytest.approx(1.25 / 0.7, rel=1e-3)


def test_the_scales_are_told_together():
    scales = [ScaleReport(ScaleSource.FLOOR, 1.0 + 0.1 * i) for i in range(11)]
    held = ScaleReport(ScaleSource.HELD, 9.0)
    assert describe_scales([*scales, held]) == {
        SCALE: "by the floor, seen in 11 of 12 frames: x1.50 in the median, "
        "x1.10 to x1.90 in four of five"
    }
    assert describe_scales([ScaleReport()]) == {SCALE: "by the floor, seen in 0 of 1 frames"}
    assert describe_scales([]) == {}
