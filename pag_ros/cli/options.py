"""Command-line options that several commands share: their types, and what they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from pag_ros.writing import write_text

_PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def image_size(text: str) -> tuple[int, int]:
    """ "320x240" -> (320, 240), width and height in pixels."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as in 320x240")
    return width, height


def plot_file(text: str) -> Path:
    """A file that a plot can be written to; asked before the work, not after it."""
    path = Path(text)
    if path.suffix not in _PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(_PLOT_SUFFIXES)}")
    return path


def write_json(result: object, file: str | None) -> bool:
    """Do what `--json FILE` asks for.

    Args:
        result: of the command; no NaN, which JSON does not have.
        file: "-" for standard output, None for nothing.

    Returns:
        Whether standard output is taken, so that nothing else may be printed there.

    Raises:
        OSError: the file cannot be written.
    """
    if file == "-":
        print(json.dumps(result))
        return True
    if file:
        write_text(Path(file), json.dumps(result, indent=1) + "\n", make_folder=True)
    return False


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number of `least` or more."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return value

    return parse
