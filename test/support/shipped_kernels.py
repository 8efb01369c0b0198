"""The kernels that come with the shipped model, and what they are to give."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from run_ptx import UNTOUCHED, run_ptx

from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, Spec, StampSpec
from pag_ros.kernels.gpu.store import CompiledKernel, kernels_path, load_kernels
from pag_ros.lab.gpu_check.operands import random_inputs, relative_error
from pag_ros.runtime import find_model
from pag_ros.runtime.tensorrt.graph import engine_graph

TOLERANCE = 2e-3
SECOND = 10**9
UNLIMITED = (np.inf, 1.0, -np.inf)
_MODEL = "pag_lite0_indoor"


@functools.cache
def model_specs() -> dict[str, Spec]:
    """Program's name -> program."""
    graph = engine_graph(find_model(_MODEL))
    return {spec.name: spec for spec in (StampSpec(), *graph.specs)}


@functools.cache
def stored(capability: int, multiprocessors: int) -> dict[str, CompiledKernel]:
    """Program's name -> the kernel that such a GPU gets."""
    path, specs = kernels_path(find_model(_MODEL)), list(model_specs().values())
    return load_kernels(path, specs, capability, multiprocessors)


def select_spec() -> SelectSpec:
    (spec,) = (spec for spec in model_specs().values() if isinstance(spec, SelectSpec))
    return spec


def assert_computes(spec: ConvSpec, kernel: CompiledKernel, count: int) -> None:
    """The kernel gives its definition at `count` pixels, in order, and touches nothing else."""
    inputs = random_inputs(spec, count)
    outputs, hazards = run_ptx(kernel, spec, inputs)
    assert hazards == []
    assert relative_error(spec, inputs, outputs["y"]) < TOLERANCE, count
    if spec.out_rows:
        assert (outputs["y"][count:] == UNTOUCHED).all()
    elif spec.in_place:
        others = np.setdiff1d(np.arange(spec.pixels), inputs["index"][:count])
        after, before = (
            array.reshape(spec.pixels, spec.features)[others]
            for array in (outputs["y"], inputs["base"])
        )
        np.testing.assert_array_equal(after, before)


def scores(spec: SelectSpec) -> NDArray[np.float32]:
    """[H,W] with many ties, some NaN and both zeros."""
    size = (spec.height, spec.width)
    score = np.random.default_rng(1).normal(size=size).round(1).astype(np.float32)
    score.ravel()[::17] = np.nan
    score.ravel()[::23] = -0.0
    return score


def select(
    kernel: CompiledKernel,
    spec: SelectSpec,
    keep: int,
    limits: tuple[float, float, float] = UNLIMITED,
    late_ns: int = 0,
) -> dict[str, NDArray[Any]]:
    """What a Select gives for `scores` in a frame that began `late_ns` ago, checked as a list."""
    began = 1_800_000_000 * SECOND - 3  # so that low and high word both count
    inputs = {
        "score": scores(spec)[None],
        "keep": np.array(keep, np.int32),
        "limits": np.array(limits, np.float32),
        "clock": np.array([began], np.int64).view(np.int32),
    }
    outputs, hazards = run_ptx(kernel, spec, inputs, began + late_ns)
    assert hazards == []
    stamp = int(outputs["stamp"].view(np.int64)[0])
    assert 0 < stamp - began - late_ns < 10**6
    (count,) = outputs["count"]
    chosen = reference.select(scores(spec), count)
    slot = np.full(spec.pixels, -1, np.int32)
    slot[chosen] = np.arange(count)
    np.testing.assert_array_equal(outputs["index"][:count], chosen)
    np.testing.assert_array_equal(outputs["slot"], slot)
    assert (outputs["index"][count:] == UNTOUCHED).all()
    return outputs


def assert_selects(kernel: CompiledKernel, spec: SelectSpec) -> None:
    """Counts of all kinds, and a threshold."""
    for keep in (0, 1, spec.pixels // 2 - 1, spec.pixels):
        assert select(kernel, spec, keep)["count"] == keep
    assert select(kernel, spec, -5)["count"] == 0
    assert select(kernel, spec, 2**31 - 1)["count"] == spec.pixels
    above = int((scores(spec) > 0.5).sum())
    assert select(kernel, spec, spec.pixels, (np.inf, 1.0, 0.5))["count"] == above
    assert select(kernel, spec, above // 3, (np.inf, 1.0, 0.5))["count"] == above // 3


def assert_trims(kernel: CompiledKernel, spec: SelectSpec, late_s: float, share: float) -> None:
    """A block that had to begin half a second after its frame, with a second of work left from
    there, computes a share of its pixels if it is so late."""
    keep = spec.pixels - 200
    late_ns = max(0, round((0.5 + late_s) * SECOND))
    (count,) = select(kernel, spec, keep, (0.5, 1.0, -np.inf), late_ns)["count"]
    # A reading of the clock is a little later than the frame's last: one pixel less at most.
    assert share * keep - 1.001 <= count <= share * keep
