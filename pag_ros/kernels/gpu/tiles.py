"""Which share of a convolution one program computes, by the size of the chip that it is for.

A kernel takes as long as the multiprocessor with most to do. So a tile is chosen by counting: how
many programs there are at some densities, how many of them the fullest multiprocessor gets, and how
long one takes at least. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

CHIPS: Mapping[int, tuple[int, ...]] = {
    80: (56, 108),  # A30, A100
    86: (16, 82),  # RTX 3050 mobile, RTX 3090
    87: (8, 16),  # Orin Nano and NX, AGX Orin
    89: (24, 128),  # RTX 4060, RTX 4090
    90: (132,),  # H100, H200
    110: (12, 20),  # Thor T4000, T5000
    120: (24, 170),  # RTX 5050 mobile and 5060 mobile, RTX 5090
}
"""Compute capability times ten -> multiprocessors of the small and the large chip that kernels are
made for."""
CYCLES_UNIT = 32
"""Channels of one tap, over which the cycles of a tile are counted."""

_MULTIPLY_ADDS = {80: 1024, 86: 256, 87: 1024, 89: 256, 90: 2048, 110: 4096, 120: 256}
"""Compute capability -> fp16 multiply-adds with fp32 sums that a multiprocessor's tensor cores
begin in a cycle; from the makers' peak rates, multiprocessors and clocks."""
FETCHED_BYTES = 32
"""Bytes that a multiprocessor gets from the level-2 cache in a cycle while all others read as well.
One alone may get twice as many. How many it really is differs between chips: this is assumed."""
_OVERHEAD_CYCLES = 1000
"""Cycles that a program takes beside its sum: until its first operands are there, and to store the
result. Assumed."""
_DENSITIES = (0.3, 0.5, 0.7)
"""Shares of pixels listed that a tile is chosen for, all equally likely."""


@dataclass(frozen=True)
class Tile:
    """What one program of a convolution computes.

    Attributes:
        pixels, features: of its result.
        channels: of the input that it takes at a step.
        warps: of 32 threads each.
        buffers: steps whose operands are on their way or at work.
        issue_cycles: cycles in which a multiprocessor's four schedulers give out the instructions
            of `CYCLES_UNIT` channels; counted in the machine code (`pag_ros bench kernels`).
    """

    pixels: int
    features: int
    channels: int
    warps: int
    buffers: int
    issue_cycles: int


TILES = (
    Tile(128, 128, 32, warps=8, buffers=2, issue_cycles=300),
    Tile(128, 64, 32, warps=4, buffers=3, issue_cycles=165),
    Tile(64, 64, 64, warps=4, buffers=2, issue_cycles=105),
    Tile(64, 32, 64, warps=2, buffers=3, issue_cycles=55),
    Tile(32, 32, 128, warps=2, buffers=2, issue_cycles=38),
)
"""Large tiles read less, small ones occupy more multiprocessors. Each fits into 48 KB of shared
memory, which is what a kernel gets without asking for more."""


def nearest_chip(sizes: Iterable[int], multiprocessors: int) -> int:
    """The nearest of some numbers of multiprocessors, by their ratio; of two the smaller one."""
    return min(
        sorted(sizes), key=lambda size: max(size, multiprocessors) / min(size, multiprocessors)
    )


def chips_of(capability: int) -> tuple[int, ...]:
    """`CHIPS` of a compute capability, or of the nearest below it."""
    return CHIPS[_known(CHIPS, capability)]


def choose_tile(
    pixels: int, channels: int, features: int, taps: int, capability: int, multiprocessors: int
) -> Tile:
    """The tile with which a convolution takes least time, the larger one of equals.

    Args:
        pixels: of the map.
        channels, features, taps: of the convolution; the tile is cut to the first two.
        capability: compute capability times ten.
        multiprocessors: of the chip.
    """
    fitting = [tile for tile in TILES if tile.features < 2 * power_of_two(features, 16)]
    # The last tile is as narrow as they come: a convolution of fewer features cuts it.
    candidates = fitting or [TILES[-1]]
    depth = taps * channels
    tile = min(
        candidates,
        key=lambda each: sum(
            waves(round(density * pixels), features, each, multiprocessors)
            * program_cycles(each, depth, capability)
            for density in _DENSITIES
        ),
    )
    # The wider tensor-core instructions of Hopper and Thor read a tile while the next is copied
    # already, for which Triton adds a buffer.
    has_another = _known(CHIPS, capability) in (90, 110) and tile.pixels >= 64 and tile.warps >= 4
    return replace(
        tile,
        features=min(tile.features, power_of_two(features, 16)),
        channels=_cut_channels(tile.channels, channels),
        buffers=tile.buffers - has_another,
    )


def waves(pixels: int, features: int, tile: Tile, multiprocessors: int) -> int:
    """Programs that the fullest multiprocessor runs."""
    programs = ceil_divide(pixels, tile.pixels) * ceil_divide(features, tile.features)
    return ceil_divide(programs, multiprocessors)


def program_cycles(tile: Tile, depth: int, capability: int) -> float:
    """Cycles that a program takes at least.

    For its sum that is the slowest of three that may overlap: giving out instructions, the tensor
    cores, and fetching the operands.

    Args:
        depth: taps times input channels.
    """
    products = tile.pixels * tile.features * CYCLES_UNIT
    operands = 2 * (tile.pixels + tile.features) * CYCLES_UNIT
    slowest = max(tile.issue_cycles, products / multiply_adds(capability), operands / FETCHED_BYTES)
    return _OVERHEAD_CYCLES + slowest * depth / CYCLES_UNIT


def multiply_adds(capability: int) -> int:
    """fp16 multiply-adds of a multiprocessor's tensor cores in a cycle."""
    return _MULTIPLY_ADDS[_known(_MULTIPLY_ADDS, capability)]


def power_of_two(value: int, least: int) -> int:
    """The next power of two from `value` on, at least `least`."""
    return max(least, 1 << (value - 1).bit_length())


def ceil_divide(value: int, step: int) -> int:
    """The quotient, rounded up."""
    return -(-value // step)


def _cut_channels(wanted: int, channels: int) -> int:
    """Channels of a step: no more than there are, and 64 where that leaves fewer of them empty."""
    step = min(wanted, power_of_two(channels, 16))
    if step > 64 and _padded(channels, step // 2) < _padded(channels, step):
        return step // 2
    return step


def _padded(channels: int, step: int) -> int:
    return ceil_divide(channels, step) * step


def _known(table: Mapping[int, object], capability: int) -> int:
    """The capability itself, or the nearest below it that a table has."""
    return max(each for each in table if each <= capability)
