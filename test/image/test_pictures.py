"""Colours mean what the legends say."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.image import pictures
from pag_ros.manifest import NO_LABEL, LabelClass

CLASSES = (LabelClass("wall", (200, 10, 20)), LabelClass("floor", (30, 220, 40)))


def test_depth_runs_from_red_near_to_blue_far():
    near, far = pictures.color_depth(np.array([[0.4, 9.0]], np.float32), 0.3, 10.0)[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_depth_beyond_the_range_takes_the_colours_of_the_ends():
    depth = np.array([[0.3, 0.0, -np.inf, 10.0, 99.0, np.inf]], np.float32)
    colors = pictures.color_depth(depth, 0.3, 10.0)[0].tolist()
    assert colors[0] == colors[1] == colors[2]
    assert colors[3] == colors[4] == colors[5]


def test_unknown_depth_is_grey():
    picture = pictures.color_depth(np.array([[np.nan, 1.0]], np.float32), 0.3, 10.0)
    assert picture[0, 0].tolist() == list(pictures.NOTHING_RGB)


def test_equal_ratios_of_depth_are_equal_steps_of_colour():
    depth = np.geomspace(0.3, 10.0, 256, dtype=np.float32)[None]
    legend = pictures.depth_legend(256 + 20, 0.3, 10.0)[10:-10, 10]
    difference = pictures.color_depth(depth, 0.3, 10.0)[0].astype(int) - legend
    assert np.abs(difference).max() <= 12


def test_an_error_of_depth_counts_alike_too_near_and_too_far():
    depth = np.array([[2.0, 4.0, 1.0, 3.0, 9.0, np.nan, 2.0]], np.float32)
    truth = np.array([[2.0, 2.0, 2.0, 2.0, 2.0, 2.0, np.nan]], np.float32)
    equal, far, near, between, beyond, *unknown = pictures.color_depth_error(depth, truth, 2.0)[0]
    assert equal.sum() < 10
    assert far.tolist() == near.tolist() == beyond.tolist()
    assert equal.sum() < between.sum() < far.sum()
    assert all(color.tolist() == list(pictures.NOTHING_RGB) for color in unknown)
    with pytest.raises(ValueError, match="largest_ratio"):
        pictures.color_depth_error(depth, truth, 1.0)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_an_impossible_range_is_refused(bounds):
    with pytest.raises(ValueError, match="low_m"):
        pictures.color_depth(np.ones((2, 2), np.float32), *bounds)


def test_normals_follow_the_usual_convention():
    normals = np.array([[[0, 0, -1], [1, 0, 0], [0, -1, 0], [np.nan] * 3]], np.float32)
    colors = pictures.color_normals(normals)[0].tolist()
    assert colors[0] == [128, 128, 0]
    assert colors[1] == [255, 128, 128]
    assert colors[2] == [128, 0, 128]
    assert colors[3] == [0, 0, 0]


def test_labels_take_the_palettes_colours_and_grey_where_there_is_no_class():
    labels = np.array([[0, 1, NO_LABEL]], np.uint8)
    colors = pictures.color_labels(labels, CLASSES)[0].tolist()
    assert colors == [[200, 10, 20], [30, 220, 40], list(pictures.NOTHING_RGB)]


def test_an_overlay_mixes_image_and_labels():
    image = np.full((1, 1, 3), 100, np.uint8)
    labels = np.zeros((1, 1), np.uint8)
    assert pictures.overlay_labels(image, labels, CLASSES, 0.0)[0, 0].tolist() == [100] * 3
    assert pictures.overlay_labels(image, labels, CLASSES, 1.0)[0, 0].tolist() == [200, 10, 20]
    assert pictures.overlay_labels(image, labels, CLASSES, 0.5)[0, 0].tolist() == [150, 55, 60]


def test_more_blocks_are_brighter():
    computed = np.arange(9, dtype=np.uint8)[None]
    brightness = pictures.color_computed(computed, 8)[0].astype(int).sum(axis=1)
    assert (np.diff(brightness) > 0).all()
    assert brightness[0] < 30


def test_probabilities_and_boundaries_are_opposite_greys():
    values = np.array([[0.0, 1.0]], np.float32)
    assert pictures.color_probability(values)[0, :, 0].tolist() == [0, 255]
    assert pictures.color_boundary(values)[0, :, 0].tolist() == [255, 0]


def test_a_panel_holds_its_pictures_unchanged():
    tiles = [(str(i), np.full((20 + i, 30, 3), 40 * i, np.uint8)) for i in range(1, 6)]
    canvas = pictures.panel(tiles, columns=2)
    for value in (40, 80, 120, 160, 200):
        assert (canvas == value).all(axis=2).sum() >= 20 * 30


def test_an_empty_panel_is_refused():
    with pytest.raises(ValueError, match="tiles"):
        pictures.panel([])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_legends_fit_any_size(size):
    labels = np.zeros(size, np.uint8)
    assert pictures.depth_legend(size[0], 0.3, 10.0).shape[0] == size[0]
    assert pictures.label_legend(labels, CLASSES, size[1]).shape[1] == size[1]
