"""Camera pixels and network pixels agree, for every shape of picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

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


def test_bars_are_grey():
    box = Letterbox.fit((480, 480), NETWORK)
    small = box.shrink(np.full((480, 480, 3), 250, np.uint8))
    assert (small[:, :40] == BAR_GREY).all()
    assert (small[:, 280:] == BAR_GREY).all()
    assert (small[:, 40:280] == 250).all()


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


def test_a_picture_of_the_network_size_passes_unchanged():
    box = Letterbox.fit(NETWORK, NETWORK)
    image = np.random.default_rng(0).integers(0, 256, (*NETWORK, 3), np.uint8)
    assert (box.shrink(image) == image).all()


def test_a_size_of_zero_is_refused():
    with pytest.raises(ValueError, match="sizes must be positive"):
        Letterbox.fit((0, 10), NETWORK)
