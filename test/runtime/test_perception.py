"""Images of any size in, wanted outputs at that size out, budgets kept and learned from."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pag_ros.budget import ControllerSettings, Rung
from pag_ros.budget.escalation import CLEAN_TO_RETURN, LATE_TO_ESCALATE
from pag_ros.errors import ImageError
from pag_ros.runtime import Perception, open_perception
from pag_ros.runtime.frame_picture import frame_picture


@pytest.fixture
def perception(tiny_model: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1)
    yield perception
    perception.close()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (96, 128), (50, 200), (200, 50), (1, 1)])
def test_outputs_have_the_size_of_the_image(perception: Perception, size):
    result = perception.process(picture(*size), 60.0)
    assert result is not None
    assert result.depth.shape == size
    assert result.normals.shape == (*size, 3)
    assert result.labels.shape == result.confidence.shape == result.computed.shape == size
    assert result.boundary is None
    assert result.prediction.depth.shape == (48, 64)


def test_only_what_is_wanted_is_made(perception: Perception):
    result = perception.process(picture(96, 128), 60.0, wanted=frozenset({"depth"}))
    assert result.depth is not None
    assert result.normals is result.labels is result.confidence is result.computed is None


def test_depth_does_not_depend_on_the_resolution_of_the_camera(perception: Perception):
    """The same view at twice the resolution has twice the focal length and the same depth."""
    small = picture(48, 64)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    near = perception.process(small, 50.0)
    far = perception.process(large, 100.0)
    np.testing.assert_allclose(far.prediction.depth, near.prediction.depth, rtol=1e-5)


def test_without_a_deadline_everything_is_computed(perception: Perception):
    result = perception.process(picture(48, 64), 60.0)
    assert result.budget == 1.0
    assert result.keep_used == (48, 48)
    assert result.density == 1.0


def test_a_fixed_budget_is_kept_whatever_the_time_left(perception: Perception):
    perception.settings = ControllerSettings(mode="fixed", budget=0.5)
    result = perception.process(picture(48, 64), 60.0, time_left_s=1e-6)
    assert result.budget == 0.5
    assert result.keep_planned == result.keep_used == (24, 12)
    assert result.density == pytest.approx(36 / 96)


def test_a_frame_without_time_is_skipped_and_the_next_one_trimmed(perception: Perception):
    assert perception.process(picture(48, 64), 60.0, time_left_s=1e-6) is None
    result = perception.process(picture(48, 64), 60.0, time_left_s=1e-6)
    assert result is not None
    assert result.keep_used == (0, 0)


def test_a_network_that_ends_after_its_aim_is_given_an_earlier_one(
    perception: Perception, monkeypatch
):
    """Until it has ended in time for a while, on a clock that only the network moves."""
    now_s, aims = 100.0, []
    late_s = iter((0.0, 0.1, 0.0, *[-0.2] * 200))
    infer = perception.session.infer

    def slow(image, focal_px, keep, deadline, thresholds):
        nonlocal now_s
        aims.append(deadline.at - now_s)
        prediction = infer(image, focal_px, keep, deadline, thresholds)
        now_s += 0.96 + next(late_s)
        return prediction

    monkeypatch.setattr(perception.session, "infer", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    for _ in range(203):
        perception.process(picture(48, 64), 60.0, time_left_s=1.0)
    assert aims[:2] == pytest.approx([0.96, 0.96])
    assert 0.86 <= aims[2] < 0.9
    assert aims[2] < aims[3] < aims[-1]
    assert aims[-1] == pytest.approx(0.96, abs=0.01)


def test_the_controller_learns_from_every_frame(perception: Perception):
    before = perception.controller.slowdown
    for _ in range(3):
        perception.process(picture(48, 64), 60.0)
    assert perception.controller.slowdown != before


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_what_is_not_an_rgb_image_is_refused(perception: Perception, image):
    with pytest.raises(ImageError, match=r"image must be \[h,w,3\] uint8"):
        perception.process(image, 60.0)


def test_unknown_outputs_are_refused(perception: Perception):
    with pytest.raises(ValueError, match="smell"):
        perception.process(picture(48, 64), 60.0, wanted=frozenset({"smell"}))


def test_a_frame_fits_one_picture_with_all_or_few_outputs(perception: Perception):
    image = picture(48, 64)
    manifest = perception.session.manifest
    everything = frame_picture(image, perception.process(image, 60.0), manifest)
    few = frame_picture(
        image, perception.process(image, 60.0, wanted=frozenset({"depth"})), manifest
    )
    assert everything.dtype == few.dtype == np.uint8
    assert everything.shape[0] > few.shape[0]


@pytest.fixture
def ladder(tiny_model: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1, escalate=True)
    yield perception
    perception.close()


def test_late_frames_lead_to_half_resolution_and_clean_ones_back(ladder: Perception):
    image = picture(96, 128)
    assert ladder.process(image, 60.0).prediction.depth.shape == (48, 64)
    for _ in range(LATE_TO_ESCALATE):
        ladder.ended(late=True, budget=None, time_left_s=1e-6)
    assert ladder.escalation.rung == Rung.HALF_RESOLUTION
    result = ladder.process(image, 60.0)
    assert result.prediction.depth.shape == (24, 32)
    assert result.depth.shape == result.computed.shape == (96, 128)
    for _ in range(CLEAN_TO_RETURN):
        ladder.ended(late=False, budget=0.5, time_left_s=10.0)
    assert ladder.escalation.rung == Rung.FULL
    assert ladder.process(image, 60.0).prediction.depth.shape == (48, 64)


def test_both_resolutions_obey_the_same_settings(ladder: Perception):
    ladder.settings = ControllerSettings("fixed", 0.5)
    assert [p.controller.settings.budget for p in ladder.sessions] == [0.5, 0.5]


def test_a_slow_machine_is_slow_at_every_resolution(ladder: Perception):
    ladder.controller.slowdown = 7.0
    for _ in range(LATE_TO_ESCALATE):
        ladder.ended(late=True, budget=None, time_left_s=1e-6)
    assert ladder.controller.slowdown == 7.0


def test_adaptive_mode_computes_its_share_on_average(perception: Perception):
    perception.settings = ControllerSettings("adaptive", 0.5)
    rng = np.random.default_rng(1)
    used = []
    for _ in range(300):
        contrast = rng.uniform(0.2, 1.0)
        image = (contrast * rng.integers(0, 256, (48, 64, 3))).astype(np.uint8)
        used.append(perception.process(image, 60.0).keep_used)
    assert np.mean(used[100:], axis=0) == pytest.approx([24, 12], abs=2.5)
    assert np.std(used[100:], axis=0).max() > 1.0
