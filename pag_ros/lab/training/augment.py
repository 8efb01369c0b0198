"""What a real camera does to a picture, done at random to a rendered one.

Geometry (flip, zoom) changes labels and focal length along with the picture; all else only the
picture: light, colour cast, blur, noise, vignette, compression; a third of the frames turn grey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pag_ros.lab.datasets import Sample
from pag_ros.lab.datasets.fitting import fit

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MIRROR_X = np.array([-1, 1, 1], np.float32)


def reframe(sample: Sample, size: tuple[int, int], rng: Generator) -> Sample:
    """A random part of a sample, perhaps mirrored; `size` is (width, height) of the result."""
    sample = fit(_zoom(sample, rng), size)
    return _flip(sample) if rng.random() < 0.5 else sample


def photograph(color: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """A camera's imperfections on a clean picture [H,W,3] uint8 RGB."""
    picture = color.astype(np.float32) / 255.0
    picture = _light(picture, rng)
    if rng.random() < 0.33:
        picture[:] = (picture @ _LUMA)[..., None]
    if rng.random() < 0.3:
        picture = _vignette(picture, rng)
    if rng.random() < 0.5:
        picture = _blur(picture, rng)
    if rng.random() < 0.6:
        sigma = rng.uniform(0.0, 0.05)
        picture = picture + rng.normal(0.0, sigma, picture.shape).astype(np.float32)
    result = (picture.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return _compress(result, rng) if rng.random() < 0.4 else result


def _zoom(sample: Sample, rng: Generator) -> Sample:
    """A random part of the frame with the same aspect ratio, 60 to 100 % of its width."""
    height, width = sample.color.shape[:2]
    share = rng.uniform(0.6, 1.0) if rng.random() < 0.6 else 1.0
    h, w = round(height * share), round(width * share)
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    part = np.s_[y : y + h, x : x + w]
    boundary = None if sample.boundary is None else sample.boundary[:, y : y + h, x : x + w]
    cut = _with_truths(sample, lambda truth: np.ascontiguousarray(truth[part]))
    return replace(cut, color=np.ascontiguousarray(sample.color[part]), boundary=boundary)


def _flip(sample: Sample) -> Sample:
    flipped = _with_truths(sample, lambda truth: np.ascontiguousarray(truth[:, ::-1]))
    normals, boundary = flipped.normals, sample.boundary
    return replace(
        flipped,
        color=np.ascontiguousarray(sample.color[:, ::-1]),
        normals=None if normals is None else normals * _MIRROR_X,
        boundary=None if boundary is None else boundary[:, :, ::-1],
    )


def _with_truths(sample: Sample, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Sample:
    """The sample with its truths but the boundary changed, as far as it has them."""
    depth, normals, labels = sample.depth, sample.normals, sample.labels
    runner_up = sample.runner_up
    return replace(
        sample,
        depth=None if depth is None else change(depth),
        normals=None if normals is None else change(normals),
        labels=None if labels is None else change(labels),
        runner_up=None if runner_up is None else change(runner_up),
    )


def _light(picture: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Exposure, contrast, gamma, colour cast and saturation."""
    gain = rng.uniform(0.6, 1.5) * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    picture = picture ** np.float32(np.exp(rng.uniform(-0.45, 0.45))) * gain
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * np.float32(rng.uniform(0.3, 1.6))
    pivot = np.float32(picture.mean())
    contrast = np.float32(rng.uniform(0.7, 1.4))
    result: NDArray[np.float32] = ((picture - pivot) * contrast + pivot).clip(0.0, 1.0)
    return result


def _vignette(picture: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = 1.0 - rng.uniform(0.1, 0.5) * (x * x + y * y) / 2.0
    result: NDArray[np.float32] = (picture * fall[..., None]).astype(np.float32)
    return result


def _blur(picture: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Out of focus, or motion along a random direction."""
    if rng.random() < 0.6:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))  # type: ignore[return-value]
    length = int(rng.integers(2, 6))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    angle = rng.uniform(0.0, np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    start, end = np.round(length - step).astype(int), np.round(length + step).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())  # type: ignore[return-value]


def _compress(color: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
    _, data = cv2.imencode(".jpg", color, quality)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]
