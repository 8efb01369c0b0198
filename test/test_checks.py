"""Checks of values from files: numbers are numbers, texts can be printed, sizes are bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pag_ros import checks

NUMBERS = (True, None, "1", [1], float("nan"), float("inf"), -float("inf"), 10**400, -(10**400))


@pytest.mark.parametrize("value", [*NUMBERS, 101, -1], ids=repr)
@pytest.mark.parametrize("check", [checks.number, checks.whole])
def test_what_is_no_number_in_its_range_is_refused_by_name(
    check: Callable[..., Any], value: object
) -> None:
    with pytest.raises(ValueError, match=r"^height: expected a (whole )?number from 0 to 100, not"):
        check(value, "height", 0, 100)


def test_numbers_within_their_range_pass() -> None:
    assert checks.number(3, "height", 0.0, 100.0) == 3.0
    assert checks.whole(100, "height", 0, 100) == 100
    with pytest.raises(ValueError, match="height"):
        checks.whole(3.0, "height", 0, 100)


@pytest.mark.parametrize("value", ["", "a" * 201, 3, "\x1b[31m", "\ud83d", "a\nb", "\u202e"])
def test_a_name_is_short_and_printable(value: object) -> None:
    with pytest.raises(ValueError, match=r"^name: "):
        checks.name_of(value, "name")


@pytest.mark.parametrize("value", [None, "a" * 20_001, "\x1b[31m", "\ud83d"])
def test_a_text_is_printable_but_for_its_lines(value: object) -> None:
    with pytest.raises(ValueError, match=r"^license: "):
        checks.text(value, "license")
    assert checks.text("two\nlines", "license") == "two\nlines"


@pytest.mark.parametrize("value", ["red", [1, 2], [1, 2, 256], [True, 0, 0], {"r": 1}, None])
def test_a_colour_is_three_bytes(value: object) -> None:
    with pytest.raises(ValueError, match=r"^wall: expected"):
        checks.color(value, "wall")


@pytest.mark.parametrize("value", [[2, 1], [0, 1], [1, float("inf")], [1], ["1", "2"], [1, 1e9]])
def test_a_range_rises_and_is_finite(value: object) -> None:
    with pytest.raises(ValueError, match=r"^depth: expected"):
        checks.rising_range(value, "depth", 1e6)


def test_a_value_is_shown_in_few_words_however_large_it_is() -> None:
    nested: list[Any] = [1, 2]
    for _ in range(30):  # a thousand million numbers, if they were written out
        nested = [nested, nested]
    for value in (nested, "a" * 10**6, 10**400, {"a": nested}):
        assert len(checks.shown(value)) < 300
