"""Images of any size in, wanted outputs at that size out, budgets kept and learned from."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from pag_ros.budget import Allowance, ControllerSettings, Rung
from pag_ros.budget.escalation import CLEAN_TO_RETURN_S, LONGEST_FRAME_S
from pag_ros.budget.ladder import FAILURES_TO_STEP_DOWN
from pag_ros.errors import ImageError
from pag_ros.image.letterbox import Letterbox
from pag_ros.runtime import Perception, open_perception
from pag_ros.runtime.frame_picture import frame_picture


@pytest.fixture
def perception(tiny_model: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1)
    yield perception
    perception.close()


def seconds(allowed_s: float, may_drop: bool = True) -> Allowance:
    """What a frame may take that starts now."""
    return Allowance.from_now(time.perf_counter(), allowed_s, may_drop)


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


@pytest.mark.parametrize(
    ("image", "scale", "size"),
    [
        ((96, 128), 1.0, (96, 128)),
        ((96, 128), 0.5, (48, 64)),
        ((97, 131), 0.25, (24, 33)),
        ((96, 128), 0.0, (48, 64)),
        ((50, 200), 0.0, (16, 64)),  # as the picture lies in the network's, without the bars
        ((1, 1), 0.25, (1, 1)),
    ],
)
def test_outputs_have_the_size_that_is_asked_for(perception: Perception, image, scale, size):
    result = perception.process(picture(*image), 60.0, output_scale=scale)
    assert result is not None
    assert result.size == size
    assert result.depth.shape == result.labels.shape == result.computed.shape == size
    assert result.normals.shape == (*size, 3)
    whole = perception.process(picture(*image), 60.0)
    assert np.mean(result.depth) == pytest.approx(np.mean(whole.depth), rel=0.02)
    with pytest.raises(ValueError, match="-1"):
        perception.process(picture(*image), 60.0, output_scale=-1.0)


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
    result = perception.process(picture(48, 64), 60.0, seconds(1e-6))
    assert result.budget == 0.5
    assert result.keep_planned == result.keep_used == (24, 12)
    assert result.density == pytest.approx(36 / 96)


def test_a_frame_without_time_is_skipped_and_the_next_one_trimmed(perception: Perception):
    assert perception.process(picture(48, 64), 60.0, seconds(1e-6)) is None
    result = perception.process(picture(48, 64), 60.0, seconds(1e-6))
    assert result is not None
    assert result.keep_used == (0, 0)


def test_a_frame_that_may_not_be_dropped_is_computed(perception: Perception):
    assert perception.process(picture(48, 64), 60.0, seconds(1e-6, may_drop=False)) is not None


def test_the_network_is_told_when_to_trim_itself(perception: Perception, monkeypatch):
    told = []
    infer = perception.session.infer

    def spy(image, focal_px, keep, deadline, thresholds):
        told.append(deadline)
        return infer(image, focal_px, keep, deadline, thresholds)

    monkeypatch.setattr(perception.session, "infer", spy)
    allowance = replace(seconds(1.0), trim_at_s=1234.5)
    result = perception.process(picture(48, 64), 60.0, allowance)
    assert told[0].at == 1234.5
    assert told[0].planned_seconds == result.planned_stage_seconds
    perception.settings = ControllerSettings(mode="fixed", budget=0.5)
    perception.process(picture(48, 64), 60.0, allowance)
    assert told[1] is None


def test_what_a_frame_took_is_told(perception: Perception, monkeypatch):
    """On a clock that the network alone moves, and the making of the picture's thumbnail."""
    now_s = 100.0
    infer, shrink = perception.session.infer, Letterbox.shrink

    def slow_infer(*arguments):
        nonlocal now_s
        now_s += 5.0
        return infer(*arguments)

    def slow_shrink(box, image):
        nonlocal now_s
        now_s += 2.0
        return shrink(box, image)

    monkeypatch.setattr(perception.session, "infer", slow_infer)
    monkeypatch.setattr(Letterbox, "shrink", slow_shrink)
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    ran = perception.process(picture(48, 64), 60.0, Allowance.from_now(now_s, 9.0)).ran
    assert ran == (107.0, 2.0, True)
    assert not perception.process(picture(48, 64), 60.0).ran.aimed


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


CLEAN_TO_RETURN = round(CLEAN_TO_RETURN_S / LONGEST_FRAME_S)
CLOCK = count()


def allowed(network_s: float) -> Allowance:
    """What the next frame may take, a second after the last one."""
    return Allowance.from_now(float(next(CLOCK)), network_s)


@pytest.fixture
def ladder(tiny_model: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1, escalate=True)
    yield perception
    perception.close()


def test_a_size_that_cannot_be_halved_has_no_half_resolution(tiny_model: Path):
    perception = open_perception(tiny_model, "cpu", threads=1, escalate=True, size=(16, 16))
    assert [planned.session.manifest.width for planned in perception.sessions] == [16]
    perception.close()


def test_late_frames_lead_to_half_resolution_and_clean_ones_back(ladder: Perception):
    image = picture(96, 128)
    assert ladder.process(image, 60.0).prediction.depth.shape == (48, 64)
    for _ in range(FAILURES_TO_STEP_DOWN):
        ladder.ended(late=True, budget=None, allowance=allowed(1e-6))
    assert ladder.escalation.rung == Rung.HALF_RESOLUTION
    result = ladder.process(image, 60.0)
    assert result.prediction.depth.shape == (24, 32)
    assert result.depth.shape == result.computed.shape == (96, 128)
    for _ in range(CLEAN_TO_RETURN):
        ladder.ended(late=False, budget=0.5, allowance=allowed(10.0))
    assert ladder.escalation.rung == Rung.FULL
    assert ladder.process(image, 60.0).prediction.depth.shape == (48, 64)


def test_both_resolutions_obey_the_same_settings(ladder: Perception):
    ladder.settings = ControllerSettings("fixed", 0.5)
    assert [p.controller.settings.budget for p in ladder.sessions] == [0.5, 0.5]


def test_nobody_returns_to_a_resolution_that_would_be_late_on_this_machine(ladder: Perception):
    """The slowdown is learned at half the resolution, where frames are in time."""
    for _ in range(FAILURES_TO_STEP_DOWN):
        ladder.ended(late=True, budget=None, allowance=allowed(1e-6))
    whole, half = (planned.controller for planned in ladder.sessions)
    whole.slowdown, half.slowdown = 1.0, 1000.0
    network_s = 10.0 * whole.floor_seconds
    for _ in range(2 * CLEAN_TO_RETURN):
        assert ladder.ended(late=False, budget=0.5, allowance=allowed(network_s)) is None
    assert whole.slowdown == 1.0
    half.slowdown = 1.0
    assert ladder.ended(late=False, budget=0.5, allowance=allowed(network_s)) == Rung.FULL


def test_a_slow_machine_is_slow_at_every_resolution(ladder: Perception):
    ladder.controller.slowdown = 7.0
    for _ in range(FAILURES_TO_STEP_DOWN):
        ladder.ended(late=True, budget=None, allowance=allowed(1e-6))
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


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (9, 4)])
def test_outputs_are_enlarged_by_the_threads_that_were_asked_for_until_it_is_closed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: int, given: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=asked)
    assert perception._workspace.threads == given
    perception.close()
    with pytest.raises(RuntimeError, match="closed"):
        _ = perception._workspace.native
