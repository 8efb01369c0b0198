"""Every kernel on the GPU against its definition, on random operands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec, launch
from pag_ros.lab.gpu_check.device import Device, Kernel
from pag_ros.lab.gpu_check.operands import expected, random_inputs, relative_error

MAX_RELATIVE_ERROR = 1e-2
"""Error that fp16 results may have, over the largest value."""

_NUMPYS_PRODUCTS = 20_000_000
"""Multiply-adds up to which the definition in NumPy is quick, and is used."""
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
"""Programs that are quick enough for a sanitizer."""

LARGE = (
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
"""Together with `SMALL` they have all forms, and tiles of all sizes."""


def counts_of(spec: ConvSpec, tile: int) -> list[int]:
    """Counts of pixels to check, ascending: 0, 1, around a tile, some densities, all."""
    pixels = spec.pixels
    wanted = [0, 1, tile - 1, tile + 1, *(round(d * pixels) for d in (0.3, 0.7, 1.0))]
    return sorted({min(count, pixels) for count in wanted})


def check_convolution(
    device: Device, spec: ConvSpec, kernel: Kernel | None = None
) -> Iterator[dict[str, Any]]:
    """A row per count: {"kernel", "case", "error", "ok"}.

    Args:
        kernel: stored code; None compiles the program.
    """
    capability, size = device.capability, None
    if kernel is not None:
        capability, size = kernel.compiled.capability, kernel.compiled.multiprocessors
    how = launch(spec, capability, size)
    for count in counts_of(spec, how.constants["BLOCK_M"]):
        inputs = random_inputs(spec, count)
        wanted = expected_on(device, spec, inputs)
        y = device.run(spec, inputs, kernel)["y"]
        error = relative_error(spec, inputs, y, wanted)
        yield _row(spec.name, f"count {count}", error, error < MAX_RELATIVE_ERROR)


def expected_on(
    device: Device, spec: ConvSpec, inputs: dict[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """The whole map [H,W,N] by the definition; what would take NumPy long, by torch on the GPU."""
    count = int(inputs["count"][0])
    if count * spec.taps * spec.channels * spec.features < _NUMPYS_PRODUCTS:
        return expected(spec, inputs)
    given = {name: device.upload(array) for name, array in inputs.items()}
    result: NDArray[np.float32] = gathered(device.torch, spec, given).cpu().numpy()
    return result.reshape(spec.height, spec.width, spec.features)


def gathered(torch: Any, spec: ConvSpec, given: Mapping[str, Any]) -> Any:
    """[P,N] float32: for every tap the neighbours' features times its weights, in full precision.

    Written without the reference: that one is a masked dense convolution.

    Args:
        given: the program's inputs as tensors.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    count, pixels = int(given["count"][0]), spec.pixels
    listed = given["index"][:count].long()
    # The row behind the last pixel stands for what lies outside; what was not computed is 0, too.
    x = torch.zeros((pixels + 1, spec.channels), device=listed.device)
    if spec.x_rows:
        x[listed] = given["x"][:count].float()
    else:
        x[:pixels] = given["x"].float().reshape(pixels, spec.channels)
    distance: Any = given["dilation"].long()[listed] if spec.by_map else spec.dilation
    values = given["bias"].float().expand(count, -1).clone()
    for tap in range(spec.taps):
        row = listed // spec.width + (tap // spec.kernel - spec.kernel // 2) * distance
        column = listed % spec.width + (tap % spec.kernel - spec.kernel // 2) * distance
        inside = (row >= 0) & (row < spec.height) & (column >= 0) & (column < spec.width)
        neighbour = torch.where(inside, row * spec.width + column, pixels)
        values += x[neighbour] @ given["weight"][tap].float()
    if spec.by_map:
        values = torch.where((distance == 0)[:, None], x[listed], values)
    result = torch.zeros((pixels, spec.features), device=listed.device)
    if spec.base:
        result = given["base"].float().reshape(pixels, spec.features).clone()
    if spec.residual:
        values += result[listed]
    upper = {"none": None, "relu": math.inf, "relu6": 6.0}[spec.activation]
    result[listed] = values if upper is None else values.clamp(0.0, upper)
    return result


def check_select(
    device: Device, spec: SelectSpec, kernel: Kernel | None = None
) -> Iterator[dict[str, Any]]:
    """Check lists with ties and NaN, thresholds, and trimming by the GPU's own clock."""
    size = (spec.height, spec.width)
    score = np.random.default_rng(1).normal(size=size).round(1).astype(np.float32)
    score.ravel()[::17] = np.nan

    def run(keep: int, limits: tuple[float, float, float]) -> dict[str, NDArray[Any]]:
        return device.run(spec, _inputs(score, keep, limits, 0), kernel)

    for density in (0.0, 0.3, 0.5, 1.0):
        keep = round(density * spec.pixels)
        outputs = run(keep, _UNLIMITED)
        yield _row(spec.name, f"keep {keep}", *_lists_differ(outputs, score, keep))
    above = int((score > 0.5).sum())
    outputs = run(spec.pixels, (math.inf, 1.0, 0.5))
    yield _row(spec.name, "threshold", *_lists_differ(outputs, score, above))
    yield _check_trimming(device, spec, score, kernel)


def check_stamp(device: Device) -> dict[str, Any]:
    """The clock moves on, in nanoseconds: two launches are less than a minute apart."""
    first, second = (_nanoseconds(device.run(StampSpec(), {})["clock"]) for _ in range(2))
    return _row("pag_stamp", f"{second - first} ns later", 0.0, 0 < second - first < 60 * _SECOND)


def _check_trimming(
    device: Device, spec: SelectSpec, score: NDArray[np.float32], kernel: Kernel | None
) -> dict[str, Any]:
    """Check that a frame which began half a planned second ago computes half of the pixels, less
    what passed since."""
    device.run(spec, _inputs(score, 1, _UNLIMITED, 0), kernel)  # compiles and loads
    began = _nanoseconds(device.run(StampSpec(), {})["clock"]) - _SECOND // 2
    limits = (0.0, 1.0, -math.inf)
    outputs = device.run(spec, _inputs(score, spec.pixels, limits, began), kernel)
    count = int(outputs["count"][0])
    took = (_nanoseconds(outputs["stamp"]) - began) / _SECOND
    differs, same = _lists_differ(outputs, score, count)
    is_right = abs(count - spec.pixels * max(0.0, 1.0 - took)) <= 1
    return _row(spec.name, f"trimmed to {count}", differs, same and is_right and took > 0.5)


def _inputs(
    score: NDArray[np.float32], keep: int, limits: tuple[float, float, float], began: int
) -> dict[str, NDArray[Any]]:
    return {
        "score": score[None],
        "keep": np.array(keep, np.int32),
        "limits": np.array(limits, np.float32),
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
