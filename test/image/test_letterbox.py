"""Camera pixels and network pixels agree, for every shape of picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.image.letterbox import BAR_GREY, Letterbox

NETWORK = (240, 320)
SIZES = [(480, 640), (240, 320), (120, 160), (720, 1280), (480, 480), (640, 480), (97, 131)]


@pytest.mark.parametrize("camera", SIZES)
def test_the_picture_fits_inside_centred_with_its_aspect_ratio(camera):
    box = Letterbox.fit(camera, NETWORK)
    assert box.height == NETWORK[0] or box.width == NETWORK[1]
    assert box.top == (NETWORK[0] - box.height) // 2
    assert box.left == (NETWORK[1] - box.width) // 2
    assert box.width / box.height == pytest.approx(camera[1] / camera[0], rel=0.01)


def test_the_focal_length_scales_with_the_picture():
    assert Letterbox.fit((480, 640), NETWORK).scale == 0.5
    assert Letterbox.fit((720, 1280), NETWORK).scale == 0.25
    assert Letterbox.fit((120, 160), NETWORK).scale == 2.0


@pytest.mark.parametrize("camera", SIZES)
def test_a_pixel_comes_back_to_where_it_was(camera):
    """A picture whose values are its own coordinates survives there and back."""
    height, width = camera
    box = Letterbox.fit(camera, NETWORK)
    rows, columns = np.mgrid[:height, :width]
    scale = 255.0 / max(camera)
    image = np.stack([rows * scale, columns * scale, 0 * rows], axis=2).round().astype(np.uint8)
    small = box.shrink(image).astype(np.float32)
    large = box.enlarge_values(small)
    assert large.shape == (height, width, 3)
    inner = (slice(8, -8), slice(8, -8))
    error = np.abs(large[inner] - image[inner].astype(np.float32))
    # half a level of rounding twice, and what neighbours differ by within half a network pixel
    assert error.max() <= 1.5 + scale / box.scale


@pytest.mark.parametrize("camera", SIZES)
def test_labels_come_back_nearest_and_unmixed(camera):
    box = Letterbox.fit(camera, NETWORK)
    small = np.zeros(NETWORK, np.uint8)
    small[:, NETWORK[1] // 2 :] = 200
    large = box.enlarge_labels(small)
    assert large.shape == camera
    assert set(np.unique(large)) == {0, 200}
    edge = int((large[camera[0] // 2] == 200).argmax())
    assert abs(edge - camera[1] / 2) <= 1.0 / box.scale + 1


def test_bars_are_grey_and_never_come_back():
    box = Letterbox.fit((480, 480), NETWORK)
    small = box.shrink(np.full((480, 480, 3), 250, np.uint8))
    assert (small[:, :40] == BAR_GREY).all()
    assert (small[:, 280:] == BAR_GREY).all()
    assert (small[:, 40:280] == 250).all()
    marked = np.zeros(NETWORK, np.float32)
    marked[:, :40] = marked[:, 280:] = 1e6
    assert box.enlarge_values(marked).max() == 0.0


def test_shrinking_averages_what_falls_into_a_pixel():
    board = (np.indices((480, 640)).sum(axis=0) % 2 * 200).astype(np.uint8)
    small = Letterbox.fit((480, 640), NETWORK).shrink(np.dstack([board] * 3))
    assert (small == 100).all()


@pytest.mark.parametrize("camera", [(480, 640), (960, 1280), (481, 641), (363, 484), (300, 401)])
def test_shrinking_is_close_to_the_mean_over_each_pixels_area(camera: tuple[int, int]) -> None:
    network = (192, 256)
    rows, columns = np.mgrid[: camera[0], : camera[1]]
    wave = 127 + 100 * np.sin(rows * (40 / camera[0])) * np.cos(columns * (50 / camera[1]))
    speckled = wave + np.random.default_rng(0).normal(0.0, 20.0, camera)
    image = np.dstack([np.clip(speckled, 0, 255).astype(np.uint8)] * 3)
    box = Letterbox.fit(camera, network)
    small = box.shrink(image)[box.inside].astype(float)
    exact = cv2.resize(image, (box.width, box.height), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(
        image.astype(np.float32), (box.width, box.height), interpolation=cv2.INTER_AREA
    )
    assert np.abs(exact - mean).max() < 1.0
    skipped = cv2.resize(image, (box.width, box.height), interpolation=cv2.INTER_NEAREST)
    assert np.abs(small - mean).mean() < 0.45 * np.abs(skipped - mean).mean()
    assert abs(small.mean() - mean.mean()) < 0.5


def test_a_picture_that_cannot_be_halved_loses_no_pixel() -> None:
    board = (np.indices((963, 1283)).sum(axis=0) % 2 * 200).astype(np.uint8)
    small = Letterbox.fit((963, 1283), (192, 256)).shrink(np.dstack([board] * 3))
    assert np.abs(small.astype(int) - 100).max() < 20


def test_values_are_interpolated_between_the_pixels_of_the_network():
    ramp = np.tile(np.arange(NETWORK[1], dtype=np.float32), (NETWORK[0], 1))
    large = Letterbox.fit((480, 640), NETWORK).enlarge_values(ramp)
    np.testing.assert_allclose(large[100, 2:-2], (np.arange(2, 638) - 0.5) / 2, atol=1e-3)


def test_a_picture_of_the_network_size_passes_unchanged():
    box = Letterbox.fit(NETWORK, NETWORK)
    image = np.random.default_rng(0).integers(0, 256, (*NETWORK, 3), np.uint8)
    assert (box.shrink(image) == image).all()
    assert (box.enlarge_labels(image[..., 0]) == image[..., 0]).all()


def test_unknown_depth_is_never_averaged():
    box = Letterbox.fit((480, 640), NETWORK)
    depth = np.full(NETWORK, 2.0, np.float32)
    depth[100, 100] = np.nan
    large = box.enlarge_values(depth)
    assert np.isnan(large[200:202, 200:202]).all()
    assert (large[~np.isnan(large)] == 2.0).all()
    assert np.isnan(large).sum() <= 16


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=40)
def test_normals_stay_unit_at_every_size(height, width):
    box = Letterbox.fit((height, width), (24, 32))
    normals = np.random.default_rng(1).normal(size=(24, 32, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    large = box.enlarge_normals(normals)
    assert large.shape == (height, width, 3)
    np.testing.assert_allclose(np.linalg.norm(large, axis=2), 1.0, atol=1e-4)


def test_a_plane_keeps_its_normal():
    normals = np.tile(np.array([0.0, 0.6, -0.8], np.float32), (*NETWORK, 1))
    large = Letterbox.fit((480, 640), NETWORK).enlarge_normals(normals)
    np.testing.assert_allclose(large, np.broadcast_to([0.0, 0.6, -0.8], large.shape), atol=1e-6)


@pytest.mark.parametrize("camera", [(480, 640), (480, 480), (360, 640)])
def test_normals_come_from_inside_the_bars(camera):
    box = Letterbox.fit(camera, NETWORK)
    normals = np.full((*NETWORK, 3), [1.0, 0.0, 0.0], np.float32)
    normals[box.inside] = [0.0, 0.6, -0.8]
    large = box.enlarge_normals(normals)
    np.testing.assert_allclose(large, np.broadcast_to([0.0, 0.6, -0.8], (*camera, 3)), atol=1e-6)


def test_normals_that_keep_their_size_are_those_of_the_network():
    box = Letterbox.fit((360, 640), NETWORK).with_output(0.0)
    normals = np.random.default_rng(0).normal(size=(*NETWORK, 3)).astype(np.float32)
    kept = box.enlarge_normals(normals)
    assert np.shares_memory(kept, normals), "nothing to compute"
    np.testing.assert_array_equal(kept, normals[box.inside])


def test_a_size_of_zero_is_refused():
    with pytest.raises(ValueError, match="sizes must be positive"):
        Letterbox.fit((0, 10), NETWORK)
