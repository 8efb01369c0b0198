"""The camera's place above the floor, from depths whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from floor_scenes import CAMERA, FLOOR, OBJECT, FloorScene, look

from pag_ros.lab.datasets import Sample
from pag_ros.lab.datasets.true_floor import TrueFloor, find_true_floor

CLASSES = ("wall", "floor", "object")


def sample_of(scene: FloorScene, labelled: bool = True) -> Sample:
    return Sample(
        np.zeros((*scene.depth.shape, 3), np.uint8),
        CAMERA.fx,
        depth=scene.depth,
        labels=scene.labels if labelled else None,
    )


def off_degrees(floor: TrueFloor, scene: FloorScene) -> float:
    assert floor.mount.up is not None
    assert scene.mount.up is not None
    return math.degrees(math.acos(min(1.0, float(np.dot(floor.mount.up, scene.mount.up)))))


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("height_m", "pitch", "roll"), [(0.6, 15.0, 0.0), (1.5, 40.0, -8.0)])
def test_height_pitch_and_roll_are_found_in_noise(
    height_m: float, pitch: float, roll: float, labelled: bool
) -> None:
    scene = look(height_m, pitch, roll)
    rng = np.random.default_rng(0)
    noise = np.exp(rng.normal(0.0, 0.01, scene.depth.shape)).astype(np.float32)
    noisy = replace(sample_of(scene, labelled), normals=scene.normals, depth=scene.depth * noise)
    floor = find_true_floor(noisy, CLASSES)
    assert floor is not None
    assert floor.mount.height_m == pytest.approx(height_m, rel=0.01)
    assert off_degrees(floor, scene) < 0.5
    is_floor = scene.labels == FLOOR
    assert floor.pixels[is_floor].mean() > 0.95
    assert not floor.pixels[~is_floor].any()
    assert floor.share == pytest.approx(is_floor.mean(), abs=0.03)


def test_a_small_floor_far_off_is_put_neither_too_low_nor_too_high() -> None:
    """A sensor's noise grows with the distance squared, and the lowest pixels are noise alone."""
    scene, found = look(1.5, 15.0), []
    labels = np.where(scene.depth > 3.5, scene.labels, OBJECT).astype(np.uint8)
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0.0, 0.002, scene.depth.shape)
        depth = (1.0 / (1.0 / scene.depth + noise)).astype(np.float32)
        sample = replace(sample_of(scene), depth=depth, normals=scene.normals, labels=labels)
        floor = find_true_floor(sample, CLASSES)
        assert floor is not None
        found.append(floor.mount.height_m)
    assert np.mean(found) == pytest.approx(1.5, abs=0.002)


def test_normals_are_found_where_there_are_none() -> None:
    scene = look()
    depth = scene.depth.copy()
    depth[:, :20] = np.nan
    floor = find_true_floor(replace(sample_of(scene, labelled=False), depth=depth))
    assert floor is not None
    assert floor.mount.height_m == pytest.approx(scene.mount.height_m, rel=0.01)
    assert off_degrees(floor, scene) < 0.5
    assert not floor.pixels[:, :20].any()


def test_table_tops_are_no_floor() -> None:
    """What is level is a box's top here: labels or the camera's least height keep it out."""
    scene = look(1.0, 40.0)
    top = scene.labels == OBJECT
    depth = np.where(scene.labels == FLOOR, np.float32(np.nan), scene.depth)
    boxes = replace(sample_of(scene), depth=depth, normals=scene.normals)
    assert top.mean() > 0.1
    found = find_true_floor(replace(boxes, labels=None), CLASSES)
    assert found is not None
    assert found.mount.height_m < 0.7
    assert find_true_floor(boxes, CLASSES) is None
    assert find_true_floor(replace(boxes, labels=None), CLASSES, least_height_m=0.8) is None
    # Labels of a dataset without a class of ground tell nothing of it.
    assert find_true_floor(boxes, ("wall", "carpet", "object")) is not None


def test_normals_that_are_off_do_not_tilt_the_plane() -> None:
    scene, turned = look(1.2, 30.0), look(1.2, 44.0)
    assert turned.mount.up is not None
    normals = np.where((scene.labels == FLOOR)[..., None], turned.mount.up, scene.normals)
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.01, scene.depth.shape))
    depth = (scene.depth * noise).astype(np.float32)
    floor = find_true_floor(replace(sample_of(scene), depth=depth, normals=normals), CLASSES)
    assert floor is not None
    assert floor.mount.height_m == pytest.approx(1.2, rel=0.005)
    assert off_degrees(floor, scene) < 0.2


def test_what_is_labelled_otherwise_is_no_floor_at_any_height() -> None:
    scene = look()
    labels = scene.labels.copy()
    labels[:, :80] = OBJECT
    floor = find_true_floor(replace(sample_of(scene), labels=labels), CLASSES)
    assert floor is not None
    assert not floor.pixels[:, :80].any()


def test_of_two_level_surfaces_the_lower_one_is_the_floor() -> None:
    """Though the other one is larger."""
    scene, higher = look(1.2, 30.0), look(0.5, 30.0)
    columns = np.arange(scene.depth.shape[1]) > 20
    sample = replace(
        sample_of(scene, labelled=False),
        depth=np.where(columns, higher.depth, scene.depth),
        normals=np.where(columns[:, None], higher.normals, scene.normals),
    )
    floor = find_true_floor(sample)
    assert floor is not None
    assert floor.mount.height_m == pytest.approx(1.2, rel=0.01)
    assert floor.pixels.sum() < 0.3 * floor.pixels.size


def test_little_or_unknown_floor_tells_nothing() -> None:
    scene = look()
    is_floor = np.flatnonzero(scene.labels == FLOOR)
    for kept, known in ((0.008, False), (0.012, True)):
        depth = scene.depth.copy().ravel()
        depth[is_floor[round(kept * depth.size) :]] = np.nan
        sample = replace(
            sample_of(scene), depth=depth.reshape(scene.depth.shape), normals=scene.normals
        )
        assert (find_true_floor(sample, CLASSES) is not None) == known
    assert find_true_floor(replace(sample_of(scene), depth=None), CLASSES) is None
