"""The boundary metric on cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from pag_ros.evaluation.boundaries import BoundaryScores, count, match, suppress, thin


def lines(*columns: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    drawn = np.zeros(shape, bool)
    drawn[:, list(columns)] = True
    return drawn


def test_pixels_are_matched_one_to_one() -> None:
    one, other = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    one[0, [3, 5]] = True
    other[0, 4] = True
    mine, theirs = match(one, other, 1.0)
    assert (mine.sum(), theirs.sum()) == (1, 1)


def test_nearness_never_costs_a_pair() -> None:
    # 3 is nearer to 3, but then 5 and 1 would be alone.
    one, other = np.zeros((1, 9), bool), np.zeros((1, 9), bool)
    one[0, [3, 5]] = True
    other[0, [1, 3]] = True
    mine, theirs = match(one, other, 2.0)
    assert (mine.sum(), theirs.sum()) == (2, 2)


def test_pixels_beyond_the_radius_are_not_matched() -> None:
    mine, _ = match(lines(10), lines(12), 1.9)
    assert not mine.any()
    assert match(lines(10), lines(12), 2.0)[0].all(axis=0)[10]


def test_a_right_and_a_wrong_line_by_hand() -> None:
    # Diagonal 100, so the radius is 0.75 px: equal pixels only. One of two predicted lines is
    # right (P 1/2) and two of three drawn lines are found (R 2/3): F = 4/7.
    truth = np.stack([lines(20), lines(20, 60)])
    counts = count(lines(20, 40).astype(np.float32), truth)
    assert counts[50].tolist() == [120, 180, 60, 120]
    scores = BoundaryScores()
    scores._pictures.append(counts)
    assert scores.scores()["ODS"] == pytest.approx(4 / 7)
    assert scores.scores()["OIS"] == pytest.approx(4 / 7)


def test_ois_chooses_each_picture_s_threshold_and_ods_one_for_all() -> None:
    truth = lines(20)[None]
    weak = np.where(lines(20), 0.3, 0.0) + np.where(lines(50), 0.1, 0.0)
    strong = np.where(lines(20), 0.9, 0.0) + np.where(lines(50), 0.6, 0.0)
    scores = BoundaryScores()
    scores._pictures = [count(p.astype(np.float32), truth) for p in (weak, strong)]
    assert scores.scores()["OIS"] == pytest.approx(1.0)
    # At 0.11 to 0.3: recall 1, precision 120 / 180.
    assert scores.scores()["ODS"] == pytest.approx(0.8)


def test_thinning_keeps_a_line_of_one_pixel() -> None:
    bar = np.zeros((20, 30), bool)
    bar[5:10, 3:27] = True
    thinned = thin(bar)
    assert (thinned.sum(axis=0) <= 1).all()
    assert thinned[7, 8:22].all()
    assert (thin(thinned) == thinned).all()


def test_suppression_leaves_the_ridge_of_a_wide_line() -> None:
    x = np.arange(60, dtype=np.float32)
    wide = np.tile(np.exp(-((x - 30) ** 2) / 18), (40, 1)).astype(np.float32)
    kept = suppress(wide)
    assert (np.argmax(kept, axis=1) == 30).all()
    assert (kept[5:-5] > 0.2).sum(axis=1).max() == 1


def test_no_pictures_no_scores_and_sizes_are_checked() -> None:
    assert BoundaryScores().scores() == {}
    with pytest.raises(ValueError, match="do not fit"):
        BoundaryScores().add(np.zeros((4, 5), np.float32), np.zeros((1, 5, 4), bool))
