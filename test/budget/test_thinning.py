"""Slow outputs come less often, so that the others are in time."""

from __future__ import annotations

import pytest

from pag_ros.budget.ladder import FAILURES_TO_STEP_DOWN
from pag_ros.budget.thinning import CLEAN_TO_RETURN, EVERY, Thinned, Thinning

BOTH = frozenset({"mask", "points"})
SECONDS = {"mask": 0.002, "points": 0.4}


def run(thinning: Thinning, frames: int, slow: bool = True) -> tuple[list[Thinned], int]:
    """Frames that are late if they carry a slow cloud: the changes, and how many carried it."""
    changes, carried = [], 0
    for _ in range(frames):
        outputs = thinning.next_of(BOTH)
        assert "mask" in outputs
        carried += "points" in outputs
        late = slow and "points" in outputs
        change = thinning.finished(late, {name: SECONDS[name] for name in outputs})
        if change is not None:
            changes.append(change)
    return changes, carried


def test_the_slowest_output_is_thinned_step_by_step():
    thinning = Thinning()
    changes, carried = run(thinning, FAILURES_TO_STEP_DOWN * sum(EVERY[:-1]))
    assert changes == [Thinned("points", every) for every in EVERY[1:]]
    assert thinning.every == {"points": EVERY[-1]}
    assert carried == FAILURES_TO_STEP_DOWN * (len(EVERY) - 1)
    _, carried = run(thinning, 10 * EVERY[-1])
    assert carried == 10


def test_few_late_frames_thin_nothing():
    thinning = Thinning()
    for _ in range(10):
        run(thinning, FAILURES_TO_STEP_DOWN - 1)
        run(thinning, 1, slow=False)
    assert thinning.every == {}


def test_an_output_that_has_become_quick_comes_with_every_frame_again():
    thinning = Thinning()
    run(thinning, 300)
    changes, _ = run(thinning, CLEAN_TO_RETURN * sum(EVERY), slow=False)
    assert [change.every for change in changes] == list(reversed(EVERY[:-1]))
    assert thinning.every == {}


def test_an_output_that_is_wanted_alone_is_never_left_out():
    thinning = Thinning()
    alone = frozenset({"points"})
    for _ in range(100):
        assert thinning.next_of(alone) == alone
        assert thinning.finished(True, {"points": 0.4}) is None
    run(thinning, 300)
    assert all(thinning.next_of(alone) == alone for _ in range(100))


def test_what_is_due_waits_for_a_frame_that_is_published():
    """Every second frame is left out: the output comes all the same."""
    thinning = Thinning()
    run(thinning, FAILURES_TO_STEP_DOWN)
    carried = 0
    for frame in range(80):
        outputs = thinning.next_of(BOTH)
        if frame % 2:
            carried += "points" in outputs
            thinning.finished(False, {"mask": 0.002} | dict.fromkeys(outputs, 0.002))
    assert carried >= 40 // EVERY[1]


def test_there_is_always_something_to_publish():
    """With two slow outputs and no other, every frame carries the one that is thinned less."""
    thinning = Thinning()
    both = frozenset({"points", "cloud"})
    slow = {"points": 0.4, "cloud": 0.3}
    for _ in range(300):
        outputs = thinning.next_of(both)
        assert outputs
        thinning.finished(True, {name: slow[name] for name in outputs})
    assert "cloud" not in thinning.every


@pytest.mark.parametrize("wanted", [frozenset(), BOTH])
def test_at_first_every_frame_carries_all_that_is_wanted(wanted):
    thinning = Thinning()
    assert all(thinning.next_of(wanted) == wanted for _ in range(100))
