"""A reserve lies near the upper end of what was seen, up at once and down slowly."""

from __future__ import annotations

import numpy as np

from pag_ros.budget.reserve import Reserve


def test_most_durations_fit_into_it():
    rng = np.random.default_rng(0)
    durations = 0.004 + 0.002 * rng.exponential(size=3000)
    reserve, fits = Reserve(), []
    for seconds in durations:
        fits.append(seconds <= reserve.seconds)
        reserve.observe(seconds)
    assert 0.92 < np.mean(fits[100:]) < 0.98


def test_it_rises_within_a_few_frames_and_falls_within_some_dozens():
    reserve = Reserve()
    for _ in range(3):
        reserve.observe(0.01)
    assert reserve.seconds > 0.009
    for _ in range(5):
        reserve.observe(0.001)
    assert reserve.seconds > 0.009
    for _ in range(200):
        reserve.observe(0.001)
    assert reserve.seconds < 0.0012
