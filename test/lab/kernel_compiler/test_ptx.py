"""The code that a robot gets, run without a GPU: the stored PTX of the shipped model's kernels.

Proves numbers, addresses, alignment and the order of accesses of the very code, on the operands
tried here. What a driver's assembler makes of it, and how long it takes, only a GPU shows. Code for
11.0 (tcgen05) is not interpreted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from run_ptx import run_ptx
from shipped_kernels import (
    assert_computes,
    assert_selects,
    assert_trims,
    model_specs,
    select_spec,
    stored,
)

from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec, launch
from pag_ros.kernels.gpu.tiles import CHIPS
from pag_ros.lab.gpu_check.operands import random_inputs

INTERPRETED = (80, 86, 87, 89, 90, 120)
THOROUGH = (87, 16)
"""Capability and multiprocessors that all counts are tried for."""


def variants() -> list[tuple[int, int]]:
    return [(cc, size) for cc in INTERPRETED for size in CHIPS[cc]]


def convolutions() -> list[Any]:
    """Every stored convolution that is interpreted, once."""
    return [
        pytest.param(capability, size, name, id=f"{capability}-{size}-{name}")
        for capability, size in variants()
        for name, kernel in stored(capability, size).items()
        if isinstance(model_specs()[name], ConvSpec) and kernel.multiprocessors == size
    ]


@pytest.mark.parametrize(("capability", "size", "name"), convolutions())
def test_every_stored_convolution_computes_its_definition(
    capability: int, size: int, name: str
) -> None:
    spec, kernel = model_specs()[name], stored(capability, size)[name]
    assert isinstance(spec, ConvSpec)
    tile = launch(spec, capability, size).constants["BLOCK_M"]
    few = {tile + 1, spec.pixels}
    counts = {0, 1, tile - 1, *few} if (capability, size) == THOROUGH else few
    for count in sorted(counts):
        assert_computes(spec, kernel, count)


@pytest.mark.parametrize(("capability", "size"), variants())
def test_every_stored_select_lists_bit_for_bit(capability: int, size: int) -> None:
    spec = select_spec()
    assert_selects(stored(capability, size)[spec.name], spec)


@pytest.mark.parametrize(
    ("late_s", "share"), [(-1.0, 1.0), (0.0, 1.0), (0.25, 0.75), (0.9, 0.1), (1.0, 0.0), (9.0, 0.0)]
)
@pytest.mark.parametrize("capability", INTERPRETED)
def test_a_late_select_trims_itself_by_the_clock(
    capability: int, late_s: float, share: float
) -> None:
    spec = select_spec()
    assert_trims(stored(capability, CHIPS[capability][-1])[spec.name], spec, late_s, share)


@pytest.mark.parametrize(("capability", "size"), [(87, 16), (89, 128)])
def test_garbage_in_the_buffers_leads_to_no_foreign_address(capability: int, size: int) -> None:
    """TensorRT times a layer on whatever its buffers hold."""
    rng = np.random.default_rng(0)
    for name, spec in model_specs().items():
        if not isinstance(spec, ConvSpec):
            continue
        inputs = random_inputs(spec, spec.pixels)
        for garbage in ("index", "slot", *(["dilation"] if spec.by_map else [])):
            inputs[garbage] = rng.integers(-(2**31), 2**31, spec.pixels).astype(np.int32)
        for count in (2**31 - 1, -7):
            inputs["count"][:] = count
            run_ptx(stored(capability, size)[name], spec, inputs)


@pytest.mark.parametrize("capability", INTERPRETED)
def test_the_stamp_is_the_clock_of_one_thread(capability: int) -> None:
    kernel = stored(capability, CHIPS[capability][0])["pag_stamp"]
    moment = (7 << 32) - 50
    outputs, hazards = run_ptx(kernel, StampSpec(), {}, moment)
    assert hazards == []
    assert 0 < int(outputs["clock"].view(np.int64)[0]) - moment < 10**6


LARGE = (
    ConvSpec(60, 80, 128, 128, out_rows=True, activation="relu"),
    ConvSpec(
        60, 80, 128, 128, x_rows=True, base=True, residual=True, in_place=True, activation="relu"
    ),
    ConvSpec(30, 40, 256, 256, x_rows=True, base=True, residual=True, activation="relu6"),
    ConvSpec(31, 43, 72, 136, base=True, dilation=2),
)
"""A picture of 640x480; 256 channels; sizes that no tile divides."""


@pytest.mark.parametrize("capability", [87, 89])
@pytest.mark.parametrize("spec", LARGE, ids=lambda spec: spec.name)
def test_larger_convolutions_compute_their_definition(capability: int, spec: ConvSpec) -> None:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    from pag_ros.lab.kernel_compiler.compiler import compile_kernel

    kernel = compile_kernel(spec, capability)
    assert_computes(spec, kernel, spec.pixels // 3)


@pytest.mark.parametrize(
    "spec",
    [
        ConvSpec(60, 80, 128, 128, out_rows=True),
        ConvSpec(60, 80, 256, 256, x_rows=True, base=True, residual=True, in_place=True),
        ConvSpec(120, 160, 128, 128, out_rows=True),
        ConvSpec(60, 80, 96, 72, base=True, dilation=2),
    ],
    ids=lambda spec: spec.name,
)
def test_on_hopper_four_warps_multiply_together(spec: ConvSpec) -> None:
    """Tiles of 64 and 128 pixels, one and two groups of warps, rows of 64 and 128 bytes."""
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    from pag_ros.lab.kernel_compiler.compiler import compile_kernel

    kernel = compile_kernel(spec, 90)
    assert "wgmma.mma_async" in kernel.ptx
    assert_computes(spec, kernel, 129)


@pytest.mark.parametrize("size", [(60, 80), (120, 160), (7, 11)])
def test_larger_maps_are_selected_from_in_blocks(size: tuple[int, int]) -> None:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    from pag_ros.lab.kernel_compiler.compiler import compile_kernel

    spec = SelectSpec(*size)
    assert_selects(compile_kernel(spec, 87), spec)
