"""Parts of a report's page: big numbers, pictures within the page, colour scales."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.image.pictures import color_depth


@dataclass(frozen=True)
class BigNumber:
    """One big number."""

    value: str
    text: str
    note: str = ""
    alert: bool = False


def depth_scale(low_m: float, high_m: float) -> dict[str, Any]:
    """The depth pictures' colour scale as a CSS gradient, and five distances along it."""
    metres = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 24, dtype=np.float32)
    colors = color_depth(metres[None].astype(np.float32), low_m, high_m)[0]
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in colors.tolist())
    ticks = low_m * (high_m / low_m) ** np.linspace(0.0, 1.0, 5)
    return {"gradient": f"linear-gradient(to right, {stops})", "ticks": [f"{t:.2g}" for t in ticks]}


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A picture [h,w,3] RGB as the text of an <img src>: JPEG, quality 85."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
