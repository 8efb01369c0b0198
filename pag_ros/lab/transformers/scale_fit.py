"""What makes metres of what a relative network says, fitted to pictures with true depth.

Disparity needs a scale and a shift, relative depth a factor. One serves all pictures. A relative
network has another one in every picture, for it was trained without any; the fit tells how far off
that leaves them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.lab.transformers.metres import Factor, ScaleAndShift

_DELTA1 = math.log(1.25)
_MIN_GAIN = 0.1
"""Share of the error of one depth for all pixels that disparity must save to be trusted."""

FARTHEST_SHARE = 0.999
"""Of the true depths are nearer than the farthest: the last ones are a depth camera's errors."""

_CANDIDATES = np.array([0.0, *np.geomspace(0.01, 100.0, 40)])
"""Shift over scale, in medians of the disparity; at the last one depth hardly depends on it.

None is below 0, so that what a picture's disparity is off by never grows on its way to depth.
"""

_ROUNDS, _BETWEEN = 3, 9
_MIN_DISPARITY = 1e-4
"""Of its median: what lies below counts as this while a shift is searched for."""

_MIN_DEPTH = 1e-6
"""Of relative depth, which is an exponential: less counts as this."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Disparities:
    """Pixels of pictures whose true depth is known.

    Attributes:
        source: of the pictures, for people.
        disparity: [N,P] float32, 0 or more, as a relative network gives it; of one that gives
            relative depth that, above 0.
        depth: [N,P] float32 metres, true.
        focal_widths: (smallest, largest) focal length over the width of the network's input.
    """

    source: str
    disparity: Array
    depth: Array
    focal_widths: tuple[float, float]


@dataclass(frozen=True)
class ScaleFit:
    """What makes metres of pictures, and what it leaves to be desired on those pictures.

    Attributes:
        best: for all pictures together.
        how: they were found, for people.
        focal_widths: (smallest, largest) focal length over the width of the network's input.
        wander: standard deviation of the logarithm of the factor that would put each picture right.
        delta1: share of the pixels less than 1.25 times off: as fitted, with each picture's own
            factor besides, and of disparity with its own scale and shift instead; None: there is no
            true depth.
    """

    best: ScaleAndShift | Factor
    how: str
    focal_widths: tuple[float, float]
    wander: float
    delta1: tuple[float, ...] | None = None

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"metres: {self.summary()}"
        if self.delta1 is not None:
            fitted, scaled, *own = self.delta1
            ideal = "".join(f", with its own scale and shift {share:.3f}" for share in own)
            yield f"delta1 {fitted:.3f}; with each picture's right factor {scaled:.3f}{ideal}"

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.best}, {self.how}, each of which is off by a factor of its own (standard "
            f"deviation of the logarithm {self.wander:.2f})"
        )


def fit_scale(pixels: Disparities) -> ScaleFit:
    """Find the scale and shift with the smallest mean error of log depth.

    For each ratio of the two the best scale is a median; the ratio is searched for.

    Raises:
        DatasetError: depth does not fall with disparity, or no better than one depth for all.
    """
    disparity, depth = pixels.disparity, pixels.depth
    log_depth = np.log(depth)
    shift, log_scale, error = _search(disparity, log_depth)
    _require_gain(error, log_depth, "disparity")
    off = _plus_log(log_depth, disparity, shift) + log_scale
    factors = np.median(off, axis=1)
    scale = math.exp(log_scale)
    return ScaleFit(
        ScaleAndShift(scale, scale * shift, float(np.quantile(depth, FARTHEST_SHARE))),
        f"fitted to {len(depth)} pictures of {pixels.source}",
        pixels.focal_widths,
        float(factors.std()),
        (_delta1(off), _delta1(off - factors[:, None]), _own_delta1(disparity, log_depth)),
    )


def fit_factor(pixels: Disparities) -> ScaleFit:
    """Find the factor of relative depth with the smallest mean error of log depth, a median.

    Raises:
        DatasetError: true depth does not rise with relative depth, or is no better told by it than
            by one depth for all.
    """
    log_depth = np.log(pixels.depth)
    off = np.log(np.maximum(pixels.disparity, _MIN_DEPTH)) - log_depth
    log_factor = -float(np.median(off))
    off += np.float32(log_factor)
    _require_gain(float(np.abs(off).mean()), log_depth, "relative depth")
    factors = np.median(off, axis=1)
    return ScaleFit(
        Factor(math.exp(log_factor), float(np.quantile(pixels.depth, FARTHEST_SHARE))),
        f"fitted to {len(pixels.depth)} pictures of {pixels.source}",
        pixels.focal_widths,
        float(factors.std()),
        (_delta1(off), _delta1(off - factors[:, None])),
    )


def _require_gain(error: float, log_depth: Array, said: str) -> None:
    """That a mean |log depth| error is less than if all pixels had one depth.

    Raises:
        DatasetError: it is not.
    """
    alike = float(np.abs(log_depth - np.median(log_depth)).mean())
    if error > (1.0 - _MIN_GAIN) * alike:
        raise DatasetError(
            f"this network's {said} says nothing of these pictures' depth (off by a factor of "
            f"{math.exp(error):.2f} in the mean, one depth for all by {math.exp(alike):.2f}): take "
            "pictures of near and far things, and a relative checkpoint; of a metric one say so by "
            "--max-depth METRES"
        )


def _search(disparity: Array, log_depth: Array) -> tuple[float, float, float]:
    """(shift over scale, logarithm of the scale, mean |log depth| error) of what fits best."""

    def judged(shift: float) -> tuple[float, float, float]:
        logs = _plus_log(log_depth, disparity, shift)
        middle = np.median(logs)
        return shift, -float(middle), float(np.abs(logs - middle).mean())

    shifts = _CANDIDATES * _typical(disparity)
    for _ in range(_ROUNDS):
        found = [judged(float(shift)) for shift in shifts]
        at = int(np.argmin([error for _, _, error in found]))
        shifts = np.linspace(shifts[max(0, at - 1)], shifts[min(len(shifts) - 1, at + 1)], _BETWEEN)
    return found[at]


def _own_delta1(disparity: Array, log_depth: Array) -> float:
    """What it would be if every picture had its own scale and shift."""
    shares = []
    for each, truth in zip(disparity, log_depth, strict=True):
        shift, log_scale, _ = _search(each, truth)
        shares.append(_delta1(_plus_log(truth, each, shift) + log_scale))
    return float(np.mean(shares))


def _delta1(off: Array) -> float:
    return float((np.abs(off) < _DELTA1).mean())


def _plus_log(log_depth: Array, disparity: Array, shift: float) -> Array:
    """Depth times disparity, shifted, as logarithms: the same everywhere where both agree."""
    least = np.float32(_MIN_DISPARITY * _typical(disparity))
    logs: Array = np.log(np.maximum(disparity + np.float32(shift), least)) + log_depth
    return logs


def _typical(disparity: Array) -> float:
    return max(float(np.median(disparity)), 1e-6)
