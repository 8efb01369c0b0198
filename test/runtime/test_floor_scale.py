"""The factor of a depth from its floor, on scenes whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from floor_scenes import FLOOR, OBJECT, WALL, FloorScene, look
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.errors import ParameterError
from pag_ros.runtime.floor_scale import FloorSighting, Mount, sight_floor


def spoil(scene: FloorScene, wrong_labels: float, seed: int = 0) -> FloorScene:
    """The scene as a network sees it: noise on depth and normals, some labels of other classes."""
    rng = np.random.default_rng(seed)
    depth = scene.depth * np.exp(rng.normal(0.0, 0.05, scene.depth.shape))
    normals = scene.normals + rng.normal(0.0, 0.06, scene.normals.shape)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    is_wrong = rng.random(scene.labels.shape) < wrong_labels
    others = (scene.labels + rng.integers(1, 3, scene.labels.shape)) % 3
    return replace(
        scene,
        depth=depth.astype(np.float32),
        normals=normals.astype(np.float32),
        labels=np.where(is_wrong, others, scene.labels).astype(np.uint8),
    )


@settings(max_examples=30)
@given(
    height_m=st.floats(0.3, 1.8),
    pitch=st.floats(10.0, 50.0),
    roll=st.floats(-10.0, 10.0),
    wrong=st.floats(0.6, 1.6),
    seed=st.integers(0, 99),
)
def test_the_factor_is_found_within_two_percent(
    height_m: float, pitch: float, roll: float, wrong: float, seed: int
) -> None:
    scene = spoil(look(height_m, pitch, roll), 0.3, seed)
    sighting = sight_floor(scene.sampled(wrong), scene.mount)
    assert sighting is not None
    assert sighting.factor * wrong == pytest.approx(1.0, abs=0.02)
    assert sighting.spread == pytest.approx(0.05, abs=0.03)
    assert sighting.confidence > 0.3


@pytest.mark.parametrize("pitch", [10.0, 25.0, 50.0])
@pytest.mark.parametrize("wrong", [0.6, 1.0, 1.6])
def test_the_vertical_is_found_where_it_is_not_known(pitch: float, wrong: float) -> None:
    scene = spoil(look(pitch_degrees=pitch, roll_degrees=5.0), 0.3)
    sighting = sight_floor(scene.sampled(wrong), Mount(scene.mount.height_m))
    assert sighting is not None
    assert sighting.factor * wrong == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("labelled", [0.0, 0.12])
def test_slopes_beside_the_floor_do_not_tilt_its_vertical(labelled: float) -> None:
    """As of a bed or a ramp: more than the floor if they are not labelled as such, else less."""
    scene = look(pitch_degrees=15.0)
    rng = np.random.default_rng(0)
    slope = Mount.pitched(1.0, 50.0).up
    is_slope = (scene.labels != FLOOR) | (rng.random(scene.labels.shape) < labelled)
    labels = np.where(is_slope & (rng.random(scene.labels.shape) > labelled), WALL, FLOOR)
    spoiled = replace(
        scene,
        normals=np.where(is_slope[..., None], np.float32(slope), scene.normals),
        labels=labels.astype(np.uint8),
    )
    sighting = sight_floor(spoiled.sampled(), Mount(scene.mount.height_m))
    assert sighting is not None
    assert sighting.factor == pytest.approx(1.0, abs=0.02)


def test_a_pitch_is_counted_downwards_from_the_horizon() -> None:
    assert Mount.pitched(1.2, 25.0).up == pytest.approx(look(pitch_degrees=25.0).mount.up)
    assert Mount.pitched(1.2, 90.0).up == pytest.approx((0.0, 0.0, -1.0))
    assert Mount.pitched(1.2, None) == Mount(1.2)


@pytest.mark.parametrize(
    ("height_m", "pitch", "text"),
    [
        (0.0, None, "camera's height must lie above 0, at most 100 m, got 0"),
        (math.nan, None, "height"),
        (101.0, 0.0, "height"),
        (1.0, -90.0, "camera's pitch must lie above -90, at most 90 degrees"),
        (1.0, 91.0, "pitch"),
        (1.0, math.nan, "pitch"),
    ],
)
def test_a_place_that_no_camera_has_is_refused(
    height_m: float, pitch: float | None, text: str
) -> None:
    with pytest.raises(ParameterError, match=text):
        Mount.pitched(height_m, pitch)


def test_without_a_floor_there_is_no_factor() -> None:
    scene = look(pitch_degrees=-20.0)
    assert FLOOR not in scene.labels
    for mount in (scene.mount, Mount(1.2)):
        assert sight_floor(scene.sampled(), mount) is None
        everything = replace(scene, labels=np.full_like(scene.labels, FLOOR))
        assert sight_floor(everything.sampled(), mount) is None


@pytest.mark.parametrize("mount", [None, Mount(1.2)])
def test_a_wall_that_is_labelled_as_floor_is_rejected(mount: Mount | None) -> None:
    scene = look(pitch_degrees=5.0)
    labels = np.where(scene.labels == WALL, FLOOR, WALL).astype(np.uint8)
    wall = replace(scene, labels=labels)
    assert np.mean(wall.labels == FLOOR) > 0.3
    assert sight_floor(wall.sampled(), mount or scene.mount) is None


def test_the_floor_that_is_not_labelled_as_floor_does_not_count() -> None:
    scene = look()
    none = replace(scene, labels=np.full_like(scene.labels, OBJECT))
    assert sight_floor(none.sampled(), scene.mount) is None
    assert sight_floor(none.sampled(), Mount(1.2)) is None


def test_table_tops_labelled_as_floor_do_not_outvote_it() -> None:
    scene = look()
    tops = replace(scene, labels=np.where(scene.labels == OBJECT, FLOOR, scene.labels))
    sighting = sight_floor(tops.sampled(1.25), scene.mount)
    assert sighting is not None
    assert sighting.factor == pytest.approx(0.8, rel=0.005)
    assert 0.7 < sighting.agreement < 0.999


def test_ratios_of_no_one_mind_give_no_factor() -> None:
    scene = look()
    noise = np.random.default_rng(0).uniform(-0.8, 0.8, scene.depth.shape)
    random = replace(scene, depth=(scene.depth * np.exp(noise)).astype(np.float32))
    assert sight_floor(random.sampled(), scene.mount) is None


def test_too_little_floor_gives_no_factor() -> None:
    scene = look()
    few = scene.labels.copy()
    few[:, : few.shape[1] - 2] = WALL
    assert sight_floor(replace(scene, labels=few).sampled(), scene.mount) is None
    assert np.count_nonzero(few == FLOOR) > 100


def test_a_wrong_pitch_is_noticed_by_the_normals() -> None:
    scene = look(pitch_degrees=10.0)
    assert sight_floor(scene.sampled(), Mount.pitched(1.2, 35.0)) is None


def test_a_wrong_pitch_costs_near_pixels_least() -> None:
    """Weighing the steep rays is what keeps two degrees of error small."""
    scene = look(1.2, 15.0)
    sighting = sight_floor(scene.sampled(), Mount.pitched(1.2, 17.0))
    assert sighting is not None
    assert sighting.factor == pytest.approx(1.0, abs=0.064)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_unknown_depth_does_not_count(bad: float) -> None:
    scene = look()
    depth = scene.depth.copy()
    depth[::2] = bad
    sighting = sight_floor(replace(scene, depth=depth).sampled(), scene.mount)
    assert sighting is not None
    assert sighting.factor == pytest.approx(1.0, abs=1e-3)
    assert sighting.agreement == pytest.approx(1.0)
    whole = sight_floor(scene.sampled(), scene.mount)
    assert whole is not None
    assert sighting.pixels == pytest.approx(whole.pixels / 2, rel=0.05)


@pytest.mark.parametrize("mount", [Mount.pitched(1.2, 25.0), Mount(1.2)])
def test_unknown_normals_do_not_count(mount: Mount) -> None:
    scene = look()
    normals = scene.normals.copy()
    normals[::2] = np.nan
    sighting = sight_floor(replace(scene, normals=normals).sampled(), mount)
    assert sighting is not None
    assert sighting.factor == pytest.approx(1.0, abs=1e-3)
    nothing = replace(scene, normals=np.full_like(normals, np.nan))
    assert sight_floor(nothing.sampled(), mount) is None


def test_the_share_is_that_of_the_picture() -> None:
    scene = look()
    sighting = sight_floor(scene.sampled(), scene.mount)
    assert sighting is not None
    assert sighting.pixels == np.count_nonzero(scene.labels == FLOOR)
    assert sighting.share == pytest.approx(np.mean(scene.labels == FLOOR))
    assert sighting.agreement == pytest.approx(1.0)


def test_confidence_grows_with_floor_and_agreement_and_falls_with_spread() -> None:
    best = FloorSighting(1.0, 1000, 0.5, 1.0, 0.0)
    assert best.confidence == 1.0
    assert replace(best, share=0.05).confidence == pytest.approx(0.5)
    assert replace(best, agreement=0.6).confidence == pytest.approx(0.6)
    assert replace(best, spread=0.1).confidence == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("factor", "plausible"), [(0.39, False), (0.41, True), (2.4, True), (2.6, False)]
)
def test_a_factor_has_limits(factor: float, plausible: bool) -> None:
    assert FloorSighting(factor, 1000, 0.5, 1.0, 0.0).is_plausible is plausible


def test_a_height_out_of_all_proportion_is_not_plausible() -> None:
    scene = look(1.2)
    assert scene.mount.up is not None
    sighting = sight_floor(scene.sampled(), Mount(12.0, scene.mount.up))
    assert sighting is not None
    assert math.isclose(sighting.factor, 10.0, rel_tol=0.01)
    assert not sighting.is_plausible
