"""What is dark, blurred or shown already is not learned from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pag_ros.lab.recordings.quality import (
    blurred,
    is_dark_or_bright,
    is_shown_in,
    look_at,
    shows_same,
)

RNG = np.random.default_rng(3)


def picture(seed: int = 0, brightness: float = 1.0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    large = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_NEAREST)
    return (large * brightness).astype(np.uint8)


@pytest.mark.parametrize(("level", "useless"), [(3, True), (60, False), (200, False), (252, True)])
def test_hardly_anything_can_be_seen(level: int, useless: bool) -> None:
    assert is_dark_or_bright(look_at(np.full((48, 64, 3), level, np.uint8))) is useless


def test_noise_makes_no_other_picture_but_a_step_to_the_side_does() -> None:
    first = picture()
    noisy = (first + RNG.normal(0, 6, first.shape)).clip(0, 255).astype(np.uint8)
    assert shows_same(look_at(first), look_at(noisy))
    assert not shows_same(look_at(first), look_at(np.roll(first, 20, axis=1)))
    assert is_shown_in(look_at(first), [look_at(picture(1)), look_at(noisy)])
    assert not is_shown_in(look_at(first), [look_at(picture(1))])


def test_motion_blur_is_told_by_the_other_frames() -> None:
    frames = [picture(i) for i in range(5)]
    frames[2] = cv2.GaussianBlur(frames[2], (0, 0), 6.0)
    assert blurred([look_at(frame) for frame in frames]) == [False, False, True, False, False]
    assert blurred([]) == []


def test_any_size_can_be_looked_at() -> None:
    for shape in ((16, 16), (1080, 1920), (20, 4000)):
        look = look_at(np.full((*shape, 3), 90, np.uint8))
        assert look.thumbnail.shape == (24, 32)
