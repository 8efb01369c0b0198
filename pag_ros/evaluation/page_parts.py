"""Parts of a report's page: big numbers, pictures within the page, colour scales."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.image.pictures import color_depth, color_depth_error
from pag_ros.reading import reading

MAX_PICTURE_BYTES = 1 << 24
"""Of a picture's file within a page."""

_KINDS = {".png": "png", ".jpg": "jpeg", ".svg": "svg+xml"}


@dataclass(frozen=True)
class BigNumber:
    """One big number."""

    value: str
    text: str
    note: str = ""
    alert: bool = False


@dataclass(frozen=True)
class ColorScale:
    """The colours of a picture: a CSS gradient, and values evenly spaced along it."""

    gradient: str
    ticks: tuple[str, ...]


def depth_scale(low_m: float, high_m: float) -> ColorScale:
    """Of `color_depth`, with five distances."""
    metres = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 24, dtype=np.float32)
    ticks = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 5)
    colors = color_depth(metres[None].astype(np.float32), low_m, high_m)
    return ColorScale(_gradient(colors), tuple(f"{t:.2g} m" for t in ticks))


def error_scale(largest_ratio: float) -> ColorScale:
    """Of `color_depth_error`, with five ratios of depth and truth."""
    ratios = largest_ratio ** np.linspace(0.0, 1.0, 24, dtype=np.float32)[None]
    ticks = largest_ratio ** np.linspace(0.0, 1.0, 5)
    colors = color_depth_error(ratios.astype(np.float32), np.ones_like(ratios), largest_ratio)
    return ColorScale(_gradient(colors), tuple(f"x {t:.2f}" for t in ticks))


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture [h,w,3] RGB as the text of an <img src>: JPEG, quality 85."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def embedded(path: Path) -> str:
    """A picture's file (.png, .jpg or .svg) as the text of an <img src>.

    Raises:
        ParameterError: it is of another kind, too large, or cannot be read.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ParameterError(f"{path}: not a picture; expected {', '.join(_KINDS)}")
    with reading(path, "a picture", ParameterError):
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise ValueError(f"larger than {MAX_PICTURE_BYTES} bytes")
        content = path.read_bytes()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _gradient(colors: NDArray[np.uint8]) -> str:
    """[1,n,3] RGB as a CSS gradient."""
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in colors[0].tolist())
    return f"linear-gradient(to right, {stops})"
