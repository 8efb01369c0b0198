"""Neighbours never lie on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.lab.recordings.splitting import GAP_S, Side, split


def test_of_a_short_recording_the_third_quarter_is_held_out() -> None:
    sides = split([0.25 * i for i in range(81)])  # 20 s
    assert set(sides[40:60]) == {Side.HELD_OUT}
    assert set(sides[:37]) == {Side.TRAIN}
    assert set(sides[37:40]) == {Side.GAP}
    assert set(sides[60:64]) == {Side.GAP}
    assert set(sides[64:]) == {Side.TRAIN}


def test_of_a_long_one_every_fourth_stretch_of_ten_seconds() -> None:
    sides = split([0.5 * i for i in range(240)])  # 120 s
    held_out = [i * 0.5 for i, side in enumerate(sides) if side is Side.HELD_OUT]
    assert held_out == [
        *[20.0 + 0.5 * i for i in range(20)],
        *[60.0 + 0.5 * i for i in range(20)],
        *[100.0 + 0.5 * i for i in range(20)],
    ]


def test_a_pause_is_not_filmed_time() -> None:
    times = [0.25 * i for i in range(40)] + [1000.0 + 0.25 * i for i in range(40)]
    sides = split(times)
    assert 15 <= sides.count(Side.HELD_OUT) <= 25
    assert sides.count(Side.TRAIN) >= 45


@pytest.mark.parametrize("times", [[], [3.0], [3.0, 3.0]])
def test_next_to_nothing_is_all_for_training(times: list[float]) -> None:
    assert split(times) == [Side.TRAIN] * len(times)


@given(st.lists(st.floats(0.01, 1.0), min_size=20, max_size=300))
def test_training_frames_keep_their_distance(steps: list[float]) -> None:
    times = [sum(steps[:i]) for i in range(len(steps))]
    sides = split(times)
    length_s = times[-1]
    gap_s = min(GAP_S, min(10.0, length_s / 4) / 5)
    held_out = [t for t, side in zip(times, sides, strict=True) if side is Side.HELD_OUT]
    for time_s, side in zip(times, sides, strict=True):
        if side is Side.TRAIN and held_out:
            assert min(abs(time_s - other) for other in held_out) > gap_s - 1e-6
