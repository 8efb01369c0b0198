"""Depth without a scale gets that of the reference, whatever things the reference has wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.lab.teachers.fitting import FARTHEST_M, fit_inverse, fit_scale

DEPTH = np.linspace(0.8, 6.0, 48 * 64, dtype=np.float32).reshape(48, 64)


@given(st.floats(0.01, 100.0))
def test_a_factor_is_found(factor: float) -> None:
    found = fit_scale(DEPTH / np.float32(factor), DEPTH)
    np.testing.assert_allclose(found, DEPTH, rtol=1e-3)


@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
def test_a_factor_and_an_offset_of_the_inverse_are_found(factor: float, offset: float) -> None:
    inverse = (1.0 / DEPTH.astype(np.float64) * factor + offset).astype(np.float32)
    found = fit_inverse(inverse, DEPTH)
    step = np.spacing(np.float32(abs(offset) + factor)) / factor
    np.testing.assert_allclose(found, DEPTH, rtol=1e-2 + 20.0 * step)


def test_a_thing_that_the_reference_has_wrong_bends_nothing() -> None:
    reference = DEPTH.copy()
    reference[:, 10:15] = 0.3
    inverse = 3.0 / DEPTH + 1.0
    np.testing.assert_allclose(fit_inverse(inverse, reference), DEPTH, rtol=1e-3)
    np.testing.assert_allclose(fit_scale(DEPTH / 4, reference), DEPTH, rtol=0.1)


def test_what_does_not_fit_is_no_truth() -> None:
    flat = np.ones_like(DEPTH)
    assert fit_inverse(flat, DEPTH) is None
    assert fit_inverse(DEPTH, DEPTH) is None, "far is near: the other way round"
    assert fit_scale(-flat, DEPTH) is None
    assert fit_scale(DEPTH, np.full_like(DEPTH, np.nan)) is None
    assert fit_inverse(1.0 / DEPTH, np.full_like(DEPTH, np.nan)) is None


def test_what_is_no_depth_of_a_room_is_unknown() -> None:
    relative = DEPTH.copy()
    relative[0, :3] = (0.0, 1e4, np.nan)
    found = fit_scale(relative, DEPTH)
    assert np.isnan(found[0, :3]).all()
    assert np.isfinite(found[1:]).all()
    inverse = 1.0 / DEPTH
    inverse[0, :2] = (-1.0, 0.5 / FARTHEST_M)
    assert np.isnan(fit_inverse(inverse, DEPTH)[0, :2]).all()
    with pytest.raises(ValueError, match="broadcast"):
        fit_scale(DEPTH, DEPTH[:3])
