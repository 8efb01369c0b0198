"""Checks of values that come from files: each gives the value back, or says what it should be.

They raise `ValueError` with the name of the field; `pag_ros.reading.reading` adds the file's. JSON
and YAML know true, NaN and numbers of any size: none of them passes where a plain number is meant.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 20_000

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 2, 60, 60, 40


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number that fits a float; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def number(value: object, name: str, low: float, high: float) -> float:
    """A finite number from `low` to `high`.

    Raises:
        ValueError: it is something else.
    """
    if not is_number(value) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def whole(value: object, name: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, written without a decimal point.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"{name}: expected a whole number from {low} to {high}, not {shown(value)}"
        )
    return value


def name_of(value: object, name: str) -> str:
    """A name for people: some printable characters in one line.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ValueError(
            f"{name}: expected a text of 1 to {MAX_NAME_CHARS} characters, not {shown(value)}"
        )
    if not value.isprintable():
        raise ValueError(f"{name}: {shown(value)} has characters that cannot be printed")
    return value


def text(value: object, name: str) -> str:
    """A text for people, of several lines perhaps, perhaps empty.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS:
        raise ValueError(f"{name}: expected a text, not {shown(value)}")
    if not value.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError(f"{name}: has characters that cannot be printed")
    return value


def items(value: object, name: str, low: int, high: int) -> Sequence[Any]:
    """A list of `low` to `high` entries.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: expected a list, not {shown(value)}")
    if not low <= len(value) <= high:
        count = f"{low}" if low == high else f"{low} to {high}"
        raise ValueError(f"{name}: expected {count} entries, not {len(value)}")
    return value


def entries(value: object, name: str) -> Mapping[Any, Any]:
    """A mapping of keys to values.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a mapping, not {shown(value)}")
    return value


def color(value: object, name: str) -> tuple[int, int, int]:
    """[red, green, blue], each from 0 to 255.

    Raises:
        ValueError: it is something else.
    """
    red, green, blue = (whole(part, name, 0, 255) for part in items(value, name, 3, 3))
    return red, green, blue


def rising_range(value: object, name: str, high: float) -> tuple[float, float]:
    """[smallest, largest], both above 0 and at most `high`, the second one larger.

    Raises:
        ValueError: it is something else.
    """
    first, last = items(value, name, 2, 2)
    if not (is_number(first) and is_number(last) and 0.0 < first < last <= high):
        raise ValueError(
            f"{name}: expected two numbers, 0 < low < high <= {high:g}, not {shown(value)}"
        )
    return float(first), float(last)


def shown(value: object) -> str:
    """A value for an error's text: however large it is, in a few words."""
    return _SHORT.repr(value)
