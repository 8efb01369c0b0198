"""Random operands of the GPU kernels, and what the definition makes of them. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import ConvSpec

Arrays = dict[str, NDArray[Any]]
"""Name of a kernel's argument -> its content."""


def random_lists(pixels: int, count: int, seed: int = 0) -> Arrays:
    """`index`, `slot` and `count` of random pixels; past them `index` holds pixels out of reach."""
    chosen = np.sort(np.random.default_rng(seed).permutation(pixels)[:count])
    index = np.full(pixels, 2**30, np.int32)
    index[:count] = chosen
    slot = np.full(pixels, -1, np.int32)
    slot[chosen] = np.arange(count)
    return {"index": index, "slot": slot, "count": np.array([count], np.int32)}


def random_inputs(spec: ConvSpec, count: int, seed: int = 0) -> Arrays:
    """Inputs of a convolution at `count` pixels; what must not be read is NaN.

    Weights are scaled such that results are about as large as the inputs.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> NDArray[np.float16]:
        return (scale * rng.normal(size=shape)).astype(np.float16)

    # So that many a result lies beyond the upper bound.
    spread = 6.0 if spec.activation == "relu6" else 1.0
    fan_in = (spec.taps * spec.channels) ** -0.5
    given: Arrays = {
        "x": normal(*spec.inputs[0].shape),
        **random_lists(spec.pixels, count, seed),
        "weight": normal(spec.taps, spec.channels, spec.features, scale=fan_in),
        "bias": (spread * rng.normal(size=spec.features)).astype(np.float32),
    }
    if spec.x_rows:
        given["x"][count:] = np.nan
    if spec.base:
        given["base"] = normal(1, spec.height, spec.width, spec.features)
    if spec.by_map:
        given["dilation"] = rng.choice([0, 1, 2, 4, 10], spec.pixels).astype(np.int32)
    return given


def expected(spec: ConvSpec, inputs: Arrays) -> NDArray[np.float32]:
    """The whole map [H,W,N] by the definition, whatever form x and the result have."""
    count = int(inputs["count"][0])
    x = inputs["x"].astype(np.float32)
    if spec.x_rows:
        rows, x = x, np.zeros((spec.pixels, spec.channels), np.float32)
        x[inputs["index"][:count]] = rows[:count]
    taps = inputs["weight"].astype(np.float32)
    weight = taps.reshape(spec.kernel, spec.kernel, spec.channels, spec.features)
    return reference.sparse_conv2d(
        x.reshape(spec.height, spec.width, spec.channels),
        inputs["index"],
        count,
        np.ascontiguousarray(weight.transpose(3, 0, 1, 2)),
        inputs["bias"],
        base=inputs["base"][0].astype(np.float32) if spec.base else None,
        dilation=spec.dilation,
        dilation_map=inputs.get("dilation"),
        activation=spec.activation,
        residual=spec.residual,
    )


def relative_error(
    spec: ConvSpec,
    inputs: Arrays,
    y: NDArray[np.float16],
    wanted: NDArray[np.float32] | None = None,
) -> float:
    """Largest deviation from the definition over the largest value; NaN where y is.

    Of rows only the listed ones count.

    Args:
        wanted: what `expected` gives, if that is known.
    """
    wanted = expected(spec, inputs) if wanted is None else wanted
    values = y.astype(np.float64)
    if spec.out_rows:
        count = int(inputs["count"][0])
        wanted = wanted.reshape(spec.pixels, spec.features)[inputs["index"][:count]]
        values = values[:count]
    difference = np.abs(values.reshape(wanted.shape) - wanted).max(initial=0.0)
    return float(difference / max(1.0, np.abs(wanted).max(initial=0.0)))
