"""What a camera makes of light: exposure, white balance, vignette, clipping, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from pag_ros.lab.scenes.mesh import FloatArray, Image, Triple, dot, triple

GAMMA = 2.2
# sRGB bytes of light 0 to 1 in 4096 steps: the darkest bytes are some steps wide
TO_BYTES = np.round((np.arange(4096) / 4095) ** (1 / GAMMA) * 255).astype(np.uint8)


# of the normal distribution: to draw one of them is five times as quick as a normal number
QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)


@dataclass(frozen=True)
class Film:
    """How a camera turns light into bytes.

    gain: on top of the automatic exposure; balance: [3] white balance; vignette: loss at the
    corners; knee: where highlights start to clip softly; blur: weight of the four neighbours;
    shot: noise of white at a light level of one.
    """

    gain: float = 1.0
    balance: Triple = (1.0, 1.0, 1.0)
    vignette: float = 0.1
    knee: float = 0.8
    blur: float = 0.2
    shot: float = 0.008


def random_film(rng: np.random.Generator) -> Film:
    """Any camera on any day."""
    return Film(
        gain=float(np.exp(rng.normal(-0.05, 0.38))),
        balance=triple(*rng.uniform(0.93, 1.07, 3)),
        vignette=float(rng.uniform(0, 0.25)),
        knee=float(rng.uniform(0.6, 0.9)),
        blur=float(rng.uniform(0.1, 0.45)),
        shot=float(rng.uniform(0.002, 0.02)),
    )


def develop(radiance: FloatArray, film: Film, rng: np.random.Generator) -> Image:
    """[H,W,3] linear light to sRGB bytes, exposed automatically."""
    height, width = radiance.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype="f4")[:, None], np.linspace(-1, 1, width, dtype="f4")
    exposure = _exposure(radiance) * film.gain * (1 - film.vignette * (x**2 + y**2) / 2)
    light = radiance * (exposure[..., None] * np.array(film.balance, np.float32))
    over = np.maximum(light - film.knee, 0) / (1 - film.knee)
    light = np.minimum(light, film.knee) + (1 - film.knee) * (1 - np.exp(-over))
    light = _blurred(light, film.blur)
    noise = QUANTILES.take(rng.integers(0, 256, light.shape, np.uint8))
    light += noise * film.shot * np.sqrt(np.maximum(light, 0.002))
    return np.asarray(
        TO_BYTES.take(np.clip(light * 4095 + 0.5, 0, 4095).astype(np.uint16)), np.uint8
    )


def _exposure(radiance: FloatArray) -> float:
    """What brings the mean of [H,W,3] light to mid grey and keeps the brightest tenth in range."""
    luminance = dot(radiance[::2, ::2], np.array([0.2126, 0.7152, 0.0722], np.float32))
    key = float(np.exp(np.log(luminance + 1e-3).mean()))
    top = float(np.quantile(luminance, 0.9)) + 1e-3
    return min(0.22 / (key + 1e-4), 2.5 / top)


def _blurred(image: FloatArray, amount: float) -> FloatArray:
    """Each pixel gives up `amount` of its weight to its four neighbours."""
    kernel = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) * (amount / 4)
    kernel[1, 1] = 1 - amount
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))
