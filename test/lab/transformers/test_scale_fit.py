"""Scale and shift are found again, in spite of noise, and what they leave is told as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.lab.transformers.metres import Factor, ScaleAndShift  # noqa: E402
from pag_ros.lab.transformers.scale_fit import Disparities, fit_factor, fit_scale  # noqa: E402

PICTURES, PIXELS = 24, 400
SCALE, SHIFT = 0.08, 0.15
"""1/m."""


def pixels(factors: np.ndarray | float = 1.0, shifts: np.ndarray | float = 0.0) -> Disparities:
    """Depths that are right but for each picture's own factor and shift of its inverse depth."""
    disparity = np.random.default_rng(0).gamma(2.0, 2.0, (PICTURES, PIXELS)).astype(np.float32)
    depth = np.reshape(factors, (-1, 1)) / (SCALE * disparity + SHIFT + np.reshape(shifts, (-1, 1)))
    return Disparities("rooms", disparity, depth.astype(np.float32), (0.8, 0.9))


def test_scale_and_shift_are_found_again() -> None:
    found = fit_scale(pixels())
    assert found.best.scale == pytest.approx(SCALE, rel=0.02)
    assert found.best.shift == pytest.approx(SHIFT, rel=0.02)
    assert found.wander < 1e-3
    assert found.delta1 == (1.0, 1.0, 1.0)
    assert found.how == "fitted to 24 pictures of rooms"
    assert found.focal_widths == (0.8, 0.9)


def test_far_things_without_any_disparity_have_the_depth_of_the_shift() -> None:
    given = pixels()
    given.disparity[:, :100], given.depth[:, :100] = 0.0, 1.0 / SHIFT
    assert fit_scale(given).best.shift == pytest.approx(SHIFT, rel=0.02)


def test_a_tenth_of_wild_depths_changes_little() -> None:
    given = pixels()
    wild = np.random.default_rng(1).random(given.depth.shape) < 0.1
    found = fit_scale(replace(given, depth=np.where(wild, np.float32(40.0), given.depth)))
    assert found.best.scale == pytest.approx(SCALE, rel=0.05)
    assert found.best.shift == pytest.approx(SHIFT, rel=0.05)


def test_the_wandering_of_pictures_is_told() -> None:
    factors = np.exp(np.random.default_rng(2).normal(0.0, 0.3, PICTURES))
    found = fit_scale(pixels(factors))
    assert found.wander == pytest.approx(np.log(factors).std(), rel=0.05)
    fitted, scaled, own = found.delta1
    assert fitted < 0.75
    assert scaled > 0.98
    assert own > 0.98
    assert f"standard deviation of the logarithm {found.wander:.2f}" in found.summary()
    assert any(f"delta1 {fitted:.3f}; " in line for line in found.lines())


def test_what_pictures_lack_besides_a_factor_is_told() -> None:
    _, scaled, own = fit_scale(pixels(shifts=np.linspace(-0.1, 1.0, PICTURES))).delta1
    assert scaled < 0.95
    assert own > 0.98


def test_depth_that_does_not_fall_with_disparity_is_refused() -> None:
    given = pixels()
    rising = replace(given, depth=1.0 + given.disparity)  # as of a metric checkpoint
    flat = replace(given, depth=np.full_like(given.depth, 2.0))
    nothing = replace(given, disparity=np.zeros_like(given.disparity))
    for useless in (rising, flat, nothing):
        with pytest.raises(DatasetError, match="says nothing of these pictures' depth") as raised:
            fit_scale(useless)
        assert "of a metric one say so by --max-depth METRES" in str(raised.value)


def test_metres_end_beyond_the_trusted_range() -> None:
    scale = ScaleAndShift(SCALE, 0.0, farthest_m=8.0)
    disparity = torch.tensor([2.0, 0.5, 0.0])
    torch.testing.assert_close(scale.metres(disparity), torch.tensor([6.25, 25.0, 32.0]))


def test_the_farthest_depth_is_not_a_stray_pixels() -> None:
    given = pixels()
    depth = np.minimum(given.depth, 6.0)
    depth[0, 0] = 65.0
    assert fit_scale(replace(given, depth=depth)).best.farthest_m == pytest.approx(6.0)


FACTOR = 3.5


def relative_depths(factors: np.ndarray | float = 1.0) -> Disparities:
    """Relative depths that are right but for each picture's own factor."""
    said = np.random.default_rng(0).gamma(2.0, 0.5, (PICTURES, PIXELS)).astype(np.float32) + 0.1
    depth = FACTOR * np.reshape(factors, (-1, 1)) * said
    return Disparities("rooms", said, depth.astype(np.float32), (0.8, 0.9))


def test_the_factor_of_relative_depth_is_found_again() -> None:
    given = relative_depths()
    found = fit_factor(given)
    assert isinstance(found.best, Factor)
    assert found.best.factor == pytest.approx(FACTOR, rel=1e-3)
    assert found.best.farthest_m == pytest.approx(np.quantile(given.depth, 0.999), rel=1e-3)
    assert found.wander < 1e-3
    assert found.delta1 == (1.0, 1.0)
    assert found.focal_widths == (0.8, 0.9)
    assert found.summary().startswith("3.5 * relative depth, fitted to 24 pictures of rooms, each")
    *_, second = found.lines()
    assert second == "delta1 1.000; with each picture's right factor 1.000"
    assert found.best.numbers() == {"factor": found.best.factor}


def test_a_tenth_of_wild_depths_hardly_changes_the_factor() -> None:
    given = relative_depths()
    wild = np.random.default_rng(1).random(given.depth.shape) < 0.1
    found = fit_factor(replace(given, depth=np.where(wild, np.float32(40.0), given.depth)))
    assert found.best.factor == pytest.approx(FACTOR, rel=0.05)


def test_the_wandering_of_relative_depths_is_told() -> None:
    factors = np.exp(np.random.default_rng(2).normal(0.0, 0.3, PICTURES))
    found = fit_factor(relative_depths(factors))
    assert found.wander == pytest.approx(np.log(factors).std(), rel=0.05)
    fitted, scaled = found.delta1
    assert fitted < 0.75
    assert scaled > 0.98


def test_relative_depth_that_does_not_rise_with_depth_is_refused() -> None:
    given = relative_depths()
    falling = replace(given, depth=1.0 / given.disparity)  # as of a network that says disparity
    flat = replace(given, depth=np.full_like(given.depth, 2.0))
    nothing = replace(given, disparity=np.zeros_like(given.disparity))
    for useless in (falling, flat, nothing):
        with pytest.raises(DatasetError, match="relative depth says nothing of these pictures'"):
            fit_factor(useless)


def test_metres_of_relative_depth_end_beyond_the_trusted_range() -> None:
    found = Factor(FACTOR, farthest_m=8.0).metres(torch.tensor([2.0, 9.0, torch.inf]))
    torch.testing.assert_close(found, torch.tensor([7.0, 31.5, 32.0]))
