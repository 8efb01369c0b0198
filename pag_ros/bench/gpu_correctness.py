"""Every kernel on the GPU against its definition, on random operands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.bench.gpu_device import Device
from pag_ros.bench.gpu_operands import random_inputs, relative_error
from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec, launch

MAX_RELATIVE_ERROR = 1e-2
"""Of fp16 results, over the largest value."""

_FIRST: dict[str, Any] = {"out_rows": True, "activation": "relu"}
_LAST: dict[str, Any] = {"x_rows": True, "base": True, "residual": True, "activation": "relu"}
_SECOND = 10**9
_UNLIMITED = (math.inf, 1.0, -math.inf)

SMALL = (
    ConvSpec(9, 13, 16, 16, **_FIRST),
    ConvSpec(9, 13, 7, 17, **_LAST),
    ConvSpec(9, 13, 16, 7, kernel=1, x_rows=True),
    ConvSpec(9, 13, 16, 16, by_map=True, **_FIRST),
    ConvSpec(9, 13, 16, 16, in_place=True, **_LAST),
)
"""Quick enough for a sanitizer."""

CONVOLUTIONS = (
    *SMALL,
    ConvSpec(30, 40, 128, 128, **_FIRST),
    ConvSpec(30, 40, 128, 128, in_place=True, **_LAST),
    ConvSpec(30, 40, 128, 128, **_LAST),
    ConvSpec(30, 40, 128, 128, dilation=2, x_rows=True, **_FIRST),
    ConvSpec(30, 40, 128, 128, by_map=True, **_FIRST),
    ConvSpec(30, 40, 128, 128, by_map=True, x_rows=True, **_FIRST),
    ConvSpec(30, 40, 128, 128, kernel=1, **_FIRST),
    ConvSpec(30, 40, 128, 32, x_rows=True, **_FIRST),
    ConvSpec(30, 40, 32, 7, kernel=1, x_rows=True),
    ConvSpec(30, 40, 96, 576, kernel=1, out_rows=True, activation="relu6"),
    ConvSpec(31, 43, 72, 136, **_LAST),
    ConvSpec(60, 80, 128, 128, **_FIRST),
    ConvSpec(60, 80, 128, 128, **_LAST),
    ConvSpec(60, 80, 256, 256, base=True, activation="relu6"),
    ConvSpec(15, 20, 512, 512, **_LAST),
)
"""All forms, and tiles of all sizes."""


def counts_of(spec: ConvSpec, tile: int) -> list[int]:
    """None, one, around a tile of pixels, some densities, all: distinct and ascending."""
    pixels = spec.pixels
    wanted = [0, 1, tile - 1, tile + 1, *(round(d * pixels) for d in (0.3, 0.7, 1.0))]
    return sorted({min(count, pixels) for count in wanted})


def check_convolutions(device: Device, specs: tuple[ConvSpec, ...]) -> Iterator[dict[str, Any]]:
    """A row per program and count: {"kernel", "count", "error", "ok"}."""
    for spec in specs:
        tile = launch(spec, device.capability).constants["BLOCK_M"]
        for count in counts_of(spec, tile):
            inputs = random_inputs(spec, count)
            error = relative_error(spec, inputs, device.run(spec, inputs)["y"])
            yield _row(spec.name, f"count {count}", error, error < MAX_RELATIVE_ERROR)


def check_select(device: Device, sizes: tuple[tuple[int, int], ...]) -> Iterator[dict[str, Any]]:
    """Lists with ties and NaN, thresholds, and trimming by the GPU's own clock."""
    for size in sizes:
        spec = SelectSpec(*size)
        score = np.random.default_rng(1).normal(size=size).round(1).astype(np.float32)
        score.ravel()[::17] = np.nan
        for density in (0.0, 0.3, 0.5, 1.0):
            keep = round(density * spec.pixels)
            outputs = device.run(spec, _inputs(score, keep, _UNLIMITED, 0))
            yield _row(spec.name, f"keep {keep}", *_lists_differ(outputs, score, keep))
        above = int((score > 0.5).sum())
        outputs = device.run(spec, _inputs(score, spec.pixels, (math.inf, 1.0, 0.5), 0))
        yield _row(spec.name, "threshold", *_lists_differ(outputs, score, above))
        yield _check_trimming(device, spec, score)


def check_stamp(device: Device) -> dict[str, Any]:
    """The clock moves on, in nanoseconds: two launches are less than a minute apart."""
    first, second = (_nanoseconds(device.run(StampSpec(), {})["clock"]) for _ in range(2))
    return _row("pag_stamp", f"{second - first} ns later", 0.0, 0 < second - first < 60 * _SECOND)


def _check_trimming(device: Device, spec: SelectSpec, score: NDArray[np.float32]) -> dict[str, Any]:
    """A frame that began half a planned second ago: half of the pixels, less what passed since."""
    device.run(spec, _inputs(score, 1, _UNLIMITED, 0))  # compiles and loads
    began = _nanoseconds(device.run(StampSpec(), {})["clock"]) - _SECOND // 2
    outputs = device.run(spec, _inputs(score, spec.pixels, (0.0, 1.0, -math.inf), began))
    count = int(outputs["count"][0])
    took = (_nanoseconds(outputs["stamp"]) - began) / _SECOND
    differs, same = _lists_differ(outputs, score, count)
    is_right = abs(count - spec.pixels * max(0.0, 1.0 - took)) <= 1
    return _row(spec.name, f"trimmed to {count}", differs, same and is_right and took > 0.5)


def _inputs(
    score: NDArray[np.float32], keep: int, plan: tuple[float, float, float], began: int
) -> dict[str, NDArray[Any]]:
    return {
        "score": score[None],
        "keep": np.array(keep, np.int32),
        "plan": np.array(plan, np.float32),
        "clock": np.array([began], np.int64).view(np.int32),
    }


def _lists_differ(
    outputs: dict[str, NDArray[Any]], score: NDArray[np.float32], count: int
) -> tuple[float, bool]:
    """Entries of list, slots and count that differ from the definition, and whether none does."""
    wanted = reference.select(score, count)
    slot = np.full(score.size, -1, np.int32)
    slot[wanted] = np.arange(count)
    differing = int((outputs["index"][:count] != wanted).sum())
    differing += int((outputs["slot"] != slot).sum()) + int(outputs["count"][0] != count)
    return float(differing), differing == 0


def _nanoseconds(words: NDArray[np.int32]) -> int:
    return int(words.view(np.int64)[0])


def _row(kernel: str, case: str, error: float, is_right: bool) -> dict[str, Any]:
    return {"kernel": kernel, "case": case, "error": error, "ok": bool(is_right)}
