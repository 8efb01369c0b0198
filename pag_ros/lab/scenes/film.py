"""What a camera makes of light: exposure, white balance, vignette, clipping, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pag_ros.lab.scenes.mesh import FloatArray, Image, Triple, triple


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
    luminance = radiance @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    key = float(np.exp(np.log(luminance + 1e-3).mean()))
    top = float(np.quantile(luminance, 0.9)) + 1e-3
    exposure = min(0.22 / (key + 1e-4), 2.5 / top) * film.gain
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = 1 - film.vignette * (x**2 + y**2) / 2
    light = radiance * (exposure * falloff[..., None] * np.array(film.balance))
    over = np.maximum(light - film.knee, 0) / (1 - film.knee)
    light = np.minimum(light, film.knee) + (1 - film.knee) * (1 - np.exp(-over))
    light = _blurred(light, film.blur)
    noise = rng.normal(size=light.shape) * film.shot * np.sqrt(np.maximum(light, 0.002))
    return np.asarray(np.round(np.clip(light + noise, 0, 1) ** (1 / 2.2) * 255), np.uint8)


def _blurred(image: np.ndarray, amount: float) -> np.ndarray:
    """Each pixel gives up `amount` of its weight to its four neighbours."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    sides = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return np.asarray(image * (1 - amount) + sides * (amount / 4))
