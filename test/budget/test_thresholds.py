"""Thresholds find the scores above which the wanted share of pixels lies, over many frames."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.budget.thresholds import Thresholds

PIXELS = (1000, 500)


def play(thresholds: Thresholds, ease: list[float], wanted, allowed=PIXELS) -> np.ndarray:
    """Pixels used [frame, block]; scores are normal, lower by `ease` of the frame."""
    rng = np.random.default_rng(0)
    used = np.zeros((len(ease), len(PIXELS)), int)
    for frame, easy in enumerate(ease):
        for block, pixels in enumerate(PIXELS):
            scores = rng.normal(3.0 + block - easy, 1.0, pixels)
            above = int((scores > thresholds.values[block]).sum())
            used[frame, block] = min(above, allowed[block])
        thresholds.observe(allowed, used[frame].tolist(), wanted)
    return used


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_mean_becomes_the_wanted_one(share):
    wanted = tuple(round(share * pixels) for pixels in PIXELS)
    used = play(Thresholds(PIXELS), [0.0] * 800, wanted)
    assert used[400:].mean(axis=0) / PIXELS == pytest.approx([share, share], abs=0.05)


def test_easy_frames_use_fewer_pixels_than_hard_ones():
    ease = ([0.0] * 10 + [1.0] * 10) * 60
    used = play(Thresholds(PIXELS), ease, (500, 250)).sum(axis=1) / sum(PIXELS)
    hard = np.array(ease) == 0.0
    assert used[600:][hard[600:]].mean() > used[600:][~hard[600:]].mean() + 0.2
    assert used[600:].mean() == pytest.approx(0.5, abs=0.03)


def test_a_limit_does_not_wind_the_threshold_down():
    thresholds = Thresholds(PIXELS)
    play(thresholds, [0.0] * 400, (500, 250))
    before = thresholds.values
    play(thresholds, [0.0] * 2000, (500, 250), allowed=(100, 50))
    assert thresholds.values == before
