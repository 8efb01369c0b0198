"""What the GPU kernels cost by their machine code, beside dense convolutions, without a GPU.

An estimate counts: instructions, tensor-core instructions, programs and the bytes that they fetch.
It knows no stalls. So every bound, ours and the dense one, is stretched by the same assumed factor,
and what is worth reading is how they compare. `tools/gpu_check` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import SELECT_BLOCK, ConvSpec, SelectSpec, Spec
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.kernels.gpu.tiles import (
    CYCLES_UNIT,
    FETCHED_BYTES,
    Tile,
    ceil_divide,
    choose_tile,
    multiply_adds,
    program_cycles,
    waves,
)
from pag_ros.lab.kernel_compiler.machine_code import MainLoop, main_loop

REACHED = 0.6
"""Share of their bounds that good kernels reach. Assumed, for ours and for dense ones alike."""
LAUNCH_US = 1.0
"""Time from one kernel to the next within a CUDA graph. Assumed."""
DENSITIES = (1.0, 0.5, 0.3)

_SCHEDULERS = 4
_REGISTERS, _REGISTER_STEP = 65536, 8
_SHARED_KB = {80: 164, 86: 100, 87: 164, 89: 100, 90: 228, 110: 228, 120: 100}
_THREADS = {80: 2048, 86: 1536, 87: 1536, 89: 1536, 90: 2048, 110: 1536, 120: 1536}
_PROGRAMS = {80: 32, 86: 16, 87: 16, 89: 24, 90: 32, 110: 24, 120: 24}
"""What a multiprocessor has; CUDA C++ Programming Guide, Compute Capabilities."""
_RESERVED_KB = 1
"""Shared memory that is reserved for each program."""
_WARP_PRODUCT = 16 * 8 * 16
"""Multiply-adds of mma.sync m16n8k16."""


@dataclass(frozen=True)
class Chip:
    """A GPU.

    Attributes:
        capability: compute capability times ten.
        ghz: its highest clock.
    """

    name: str
    capability: int
    multiprocessors: int
    ghz: float


CHIPS = (
    Chip("Orin Nano", 87, 8, 1.02),
    Chip("AGX Orin 32GB", 87, 14, 0.93),
    Chip("AGX Orin 64GB", 87, 16, 1.30),
    Chip("Thor T5000", 110, 20, 1.575),
    Chip("H100", 90, 132, 1.755),
)
BLOCKS = ((128, 30, 40), (128, 60, 80), (256, 30, 40), (256, 60, 80), (512, 15, 20), (512, 30, 40))
"""(channels, height, width) of a basic block: Select and two 3x3."""

Kernels = Callable[[Spec, Chip], CompiledKernel]
"""Gives the kernel that a chip runs for a program."""


def layer_rows(specs: Sequence[Spec], chip: Chip, kernels: Kernels) -> Iterator[dict[str, Any]]:
    """A row for every convolution of a network: what its machine code says.

    Yields:
        "kernel", "chip", "tile" (pixels x features x channels), "instructions" of the main loop
        for each 16 multiply-add instructions of the tensor cores (of a warp's kind, 2048 products
        each, also where the chip has wider ones), "is_unrolled" (there is no loop, so they are the
        whole kernel's), "registers", "resident" (programs that fit on a
        multiprocessor), and for every density "programs" and "waves" (of the fullest).

    Raises:
        BackendError: a kernel cannot be had or disassembled.
    """
    for spec in specs:
        if not isinstance(spec, ConvSpec):
            continue
        kernel = kernels(spec, chip)
        tile = _tile_of(spec, kernel)
        loop = main_loop(kernel)
        sixteen = 16 * _WARP_PRODUCT
        yield {
            "kernel": spec.name,
            "chip": chip.name,
            "tile": f"{tile.pixels}x{tile.features}x{tile.channels}",
            "instructions": loop.instructions * tile.warps * sixteen / _loop_products(tile, loop),
            "is_unrolled": loop.is_unrolled,
            "registers": kernel.registers,
            "resident": resident_programs(kernel),
            "programs": {d: _programs(spec, tile, d) for d in DENSITIES},
            "waves": {d: _waves(spec, tile, chip, d) for d in DENSITIES},
        }


def block_rows(chip: Chip, kernels: Kernels) -> Iterator[dict[str, Any]]:
    """A row for every block of `BLOCKS`: estimated times in microseconds.

    Yields:
        "chip", "channels", "height", "width", "dense_fp16_us", "dense_int8_us" (two dense 3x3),
        "select_us" and "ours_us" (density -> the gate's scores, Select, and two sparse 3x3).

    Raises:
        BackendError: a kernel cannot be had or disassembled.
    """
    for channels, height, width in BLOCKS:
        size = (height, width, channels, channels)
        first = ConvSpec(*size, out_rows=True, activation="relu")
        last = ConvSpec(
            *size, x_rows=True, base=True, residual=True, in_place=True, activation="relu"
        )
        select = SelectSpec(height, width)
        chosen = LAUNCH_US + _select_us(kernels(select, chip), select, chip)
        scores = LAUNCH_US + _scores_us(first, chip)
        ours = {
            density: scores
            + chosen
            + sum(
                LAUNCH_US + sparse_us(spec, kernels(spec, chip), chip, density)
                for spec in (first, last)
            )
            for density in DENSITIES
        }
        dense = 2.0 * dense_us(first, chip)
        yield {
            "chip": chip.name,
            "channels": channels,
            "height": height,
            "width": width,
            "dense_fp16_us": dense + 2.0 * LAUNCH_US,
            "dense_int8_us": dense / 2.0 + 2.0 * LAUNCH_US,
            "select_us": chosen,
            "ours_us": ours,
        }


def sparse_us(spec: ConvSpec, kernel: CompiledKernel, chip: Chip, density: float) -> float:
    """Microseconds of a sparse convolution by the machine code of its kernel."""
    tile = counted_tile(spec, kernel)
    cycles = program_cycles(tile, spec.taps * spec.channels, chip.capability)
    return _waves(spec, tile, chip, density) * cycles / REACHED / (1e3 * chip.ghz)


def dense_us(spec: ConvSpec, chip: Chip) -> float:
    """Microseconds of the dense convolution in fp16, perfectly spread over the tensor cores."""
    products = spec.pixels * spec.taps * spec.channels * spec.features
    cycles = products / (chip.multiprocessors * multiply_adds(chip.capability))
    return cycles / REACHED / (1e3 * chip.ghz)


def counted_tile(spec: ConvSpec, kernel: CompiledKernel) -> Tile:
    """The tile of a kernel with `issue_cycles` as its machine code has them.

    Raises:
        BackendError: there is no machine code, or it cannot be disassembled.
    """
    tile, loop = _tile_of(spec, kernel), main_loop(kernel)
    steps = _loop_products(tile, loop) / (tile.pixels * tile.features * tile.channels)
    issued = loop.instructions * tile.warps / _SCHEDULERS / steps
    return replace(tile, issue_cycles=round(issued * CYCLES_UNIT / tile.channels))


def resident_programs(kernel: CompiledKernel) -> int:
    """Programs of a kernel that a multiprocessor of its capability holds at once."""
    each = ceil_divide(kernel.registers, _REGISTER_STEP) * _REGISTER_STEP * kernel.threads
    shared = 1024 * _RESERVED_KB + kernel.shared_bytes
    return min(
        _PROGRAMS[kernel.capability],
        _THREADS[kernel.capability] // kernel.threads,
        _REGISTERS // each,
        1024 * _SHARED_KB[kernel.capability] // shared,
    )


def _tile_of(spec: ConvSpec, kernel: CompiledKernel) -> Tile:
    size = (spec.pixels, spec.channels, spec.features, spec.taps)
    return choose_tile(*size, kernel.capability, kernel.multiprocessors)


def _loop_products(tile: Tile, loop: MainLoop) -> int:
    """Multiply-adds of a program in one round of its loop."""
    of_program: Mapping[str, int] = {
        "HMMA": _WARP_PRODUCT * tile.warps,
        "HGMMA": 64 * tile.features * 16 * ceil_divide(tile.warps, 4),
        "UTCHMMA": tile.pixels * tile.features * 16,
    }
    if loop.kind not in of_program:
        raise BackendError("the machine code has no tensor-core instructions")
    return loop.products * of_program[loop.kind]


def _programs(spec: ConvSpec, tile: Tile, density: float) -> int:
    pixels = ceil_divide(round(density * spec.pixels), tile.pixels)
    return pixels * ceil_divide(spec.features, tile.features)


def _waves(spec: ConvSpec, tile: Tile, chip: Chip, density: float) -> int:
    return waves(round(density * spec.pixels), spec.features, tile, chip.multiprocessors)


def _select_us(kernel: CompiledKernel, spec: SelectSpec, chip: Chip) -> float:
    """One program on one multiprocessor, which gives out all of its instructions for every block of
    pixels."""
    rounds = ceil_divide(spec.pixels, SELECT_BLOCK)
    issued = rounds * main_loop(kernel).instructions * kernel.threads / 32 / _SCHEDULERS
    return issued / REACHED / (1e3 * chip.ghz)


def _scores_us(spec: ConvSpec, chip: Chip) -> float:
    """The gate reads the block's map once."""
    read = 2 * spec.pixels * spec.channels / (chip.multiprocessors * FETCHED_BYTES)
    return read / REACHED / (1e3 * chip.ghz)
