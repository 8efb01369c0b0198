"""Types of command-line options that several commands share."""

from __future__ import annotations

import argparse


def image_size(text: str) -> tuple[int, int]:
    """ "320x240" -> (320, 240), width and height in pixels."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as in 320x240")
    return width, height
