"""Rungs of a remedy: what leads down, what leads up, and how swinging is prevented."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pag_ros.budget.ladder import FAILURES_TO_STEP_DOWN, Ladder

CLEAN_TO_RETURN = 60


def steps(ladder: Ladder[str], frames: int, failed: bool) -> list[str]:
    """The new rungs that so many frames lead to, all failed or all clean."""
    rungs = [ladder.finished(failed, not failed) for _ in range(frames)]
    return [rung for rung in rungs if rung is not None]


def test_failures_in_a_row_lead_down_and_clean_frames_up():
    ladder = Ladder("abc", CLEAN_TO_RETURN)
    assert (ladder.rung, ladder.above) == ("a", "a")
    assert steps(ladder, 2 * FAILURES_TO_STEP_DOWN, failed=True) == ["b", "c"]
    assert ladder.above == "b"
    assert steps(ladder, 100, failed=True) == []
    assert steps(ladder, CLEAN_TO_RETURN - 1, failed=False) == []
    assert steps(ladder, 1, failed=False) == ["b"]


def test_a_frame_that_is_neither_interrupts_both_rows():
    ladder = Ladder("ab", CLEAN_TO_RETURN)
    for _ in range(5):
        assert steps(ladder, FAILURES_TO_STEP_DOWN - 1, failed=True) == []
        assert ladder.finished(failed=False, clean=False) is None
    steps(ladder, FAILURES_TO_STEP_DOWN, failed=True)
    for _ in range(5):
        assert steps(ladder, CLEAN_TO_RETURN - 1, failed=False) == []
        assert ladder.finished(failed=False, clean=False) is None
    assert ladder.rung == "b"


def test_nobody_returns_to_where_it_is_not_expected_to_do():
    ladder = Ladder("ab", CLEAN_TO_RETURN)
    steps(ladder, FAILURES_TO_STEP_DOWN, failed=True)
    for _ in range(3 * CLEAN_TO_RETURN):
        assert ladder.finished(failed=False, clean=True, may_return=False) is None
    assert ladder.finished(failed=False, clean=True) == "a"


def test_returns_that_fail_at_once_become_rarer_and_those_that_hold_more_frequent():
    ladder = Ladder("ab", clean_to_return=10)
    waits = []
    for _ in range(6):
        steps(ladder, FAILURES_TO_STEP_DOWN, failed=True)
        waits.append(0)
        while ladder.rung == "b":
            steps(ladder, 1, failed=False)
            waits[-1] += 1
    assert waits == [10, 20, 40, 80, 160, 160]
    steps(ladder, 321, failed=False)  # the return holds, for more than twice the patience
    steps(ladder, FAILURES_TO_STEP_DOWN, failed=True)
    waits = 0
    while ladder.rung == "b":
        steps(ladder, 1, failed=False)
        waits += 1
    assert waits == 160
    steps(ladder, FAILURES_TO_STEP_DOWN + 400, failed=False)
    steps(ladder, FAILURES_TO_STEP_DOWN, failed=True)
    waits = 0
    while ladder.rung == "b":
        steps(ladder, 1, failed=False)
        waits += 1
    assert waits == 80


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=400))
def test_one_rung_at_a_time_whatever_comes(frames):
    ladder = Ladder(range(4), clean_to_return=5)
    for failed, may_return in frames:
        before = ladder.rung
        rung = ladder.finished(failed, not failed, may_return)
        assert abs(ladder.rung - before) <= 1
        assert rung is None or rung == ladder.rung != before
        if rung is not None:
            assert (rung > before) == failed
