"""The rungs: few, in order, and never more than was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.manifest import BlockSpec, Manifest
from pag_ros.runtime.tensorrt.ladder import BUDGETS, rung_for, rungs
from pag_ros.runtime.tensorrt.self_check import BUDGETS as CHECKED


def manifest(pixels: tuple[int, int] = (20, 50), half: tuple[int, int] | None = None) -> Manifest:
    blocks = tuple(BlockSpec(f"block{i}", 1, p, 8, 10 * p) for i, p in enumerate(pixels))
    rows = {"0.50": half} if half else {}
    return Manifest(
        "m", "", 84, 112, (50.0, 150.0), (0.1, 20.0), (), blocks, 1, ("depth",), "", "", rows
    )


def test_they_are_budgets_of_the_model_and_compute_something_in_every_block() -> None:
    ladder = rungs(manifest(half=(20, 20)))
    assert ladder[0] == (1, 1)
    assert ladder[-1] == (20, 50)
    assert len(ladder) == len(BUDGETS)
    assert ladder == tuple(sorted(ladder))


def test_the_budgets_that_the_check_of_numbers_asks_for_are_among_them() -> None:
    about = manifest()
    for budget in CHECKED:
        assert about.keep_for(budget) in rungs(about)


def test_equal_rungs_are_one() -> None:
    assert rungs(manifest((2, 2))) == ((1, 1), (2, 2))


@pytest.mark.parametrize("budget", np.linspace(0.0, 1.0, 41))
def test_a_frame_gets_the_most_that_is_not_too_much(budget: float) -> None:
    about = manifest()
    ladder, asked = rungs(about), about.keep_for(float(budget))
    slot = rung_for(ladder, asked)
    assert slot == 0 or all(np.less_equal(ladder[slot], asked))
    if slot + 1 < len(ladder):
        assert any(np.greater(ladder[slot + 1], asked))


def test_no_block_computes_more_than_it_was_asked_for() -> None:
    ladder = rungs(manifest())
    assert ladder[rung_for(ladder, (20, 5))] == (2, 5)
    assert rung_for(ladder, (0, 50)) == 0
