"""Which frames of a recording are worth learning from: sharp, lit, and unlike those before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL = (32, 24)
"""Width and height in pixels at which pictures are compared: noise and small things vanish."""

SAME = 2.0
"""Mean difference of two thumbnails' grey levels up to which they show the same. A camera that
stands still has 0.3 to 1, a step to the side at 4 Hz 10 to 30."""

DARKEST, BRIGHTEST = 12.0, 243.0
"""Mean grey levels beyond which hardly anything can be seen."""

BLURRED = 0.2
"""Sharpness, as a share of the recording's median, below which a frame is motion blur."""

_SHARPNESS_WIDTH = 320


@dataclass(frozen=True)
class Look:
    """What a picture is like.

    Attributes:
        thumbnail: [24,32] float32 grey.
        brightness: mean grey level, 0 to 255.
        sharpness: variance of the Laplacian at a width of 320 pixels (Pech-Pacheco et al. 2000).
    """

    thumbnail: NDArray[np.float32]
    brightness: float
    sharpness: float


def look_at(image: NDArray[np.uint8]) -> Look:
    """Measure a picture [h,w,3] uint8 RGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    width = min(_SHARPNESS_WIDTH, grey.shape[1])
    height = max(1, round(grey.shape[0] * width / grey.shape[1]))
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(small, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    sharpness = float(cv2.Laplacian(small, cv2.CV_32F).var())
    return Look(thumbnail, float(thumbnail.mean()), sharpness)


def is_dark_or_bright(look: Look) -> bool:
    """Whether hardly anything can be seen."""
    return not DARKEST <= look.brightness <= BRIGHTEST


def shows_same(one: Look, other: Look) -> bool:
    """Whether two pictures are near-duplicates."""
    return float(np.abs(one.thumbnail - other.thumbnail).mean()) <= SAME


def blurred(looks: Sequence[Look]) -> list[bool]:
    """Which of a recording's frames are much less sharp than its others."""
    typical = float(np.median([look.sharpness for look in looks])) if looks else 0.0
    return [look.sharpness < BLURRED * typical for look in looks]


def is_shown_in(look: Look, others: Iterable[Look]) -> bool:
    """Whether one of the others is a near-duplicate."""
    return any(shows_same(look, other) for other in others)
