"""Figures of missed deadlines are those of their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.evaluation.misses import SETTLED_FRAMES, frames_to_settle, wilson_interval


def test_wilson_interval_of_a_known_case():
    low, high = wilson_interval(1, 10)  # Brown, Cai, DasGupta, Statistical Science 2001
    assert (low, high) == (pytest.approx(0.0179, abs=1e-4), pytest.approx(0.4042, abs=1e-4))
    assert wilson_interval(0, 50)[0] == 0.0
    with pytest.raises(ValueError, match="2 hits of 1 trials"):
        wilson_interval(2, 1)


def test_settled_is_where_ten_frames_in_a_row_are_in_time():
    assert SETTLED_FRAMES == 10
    late = np.zeros(40, bool)
    assert frames_to_settle(late) == 0
    late[[0, 1, 10]] = True  # eight in time between them: not settled yet
    assert frames_to_settle(late) == 11
    late[11 + SETTLED_FRAMES] = True
    assert frames_to_settle(late) == 11


def test_what_never_settles_takes_all_frames():
    late = np.zeros(30, bool)
    late[::5] = True
    assert frames_to_settle(late) == 30
