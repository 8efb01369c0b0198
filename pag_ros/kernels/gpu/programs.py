"""What each GPU kernel computes on which tensors, and how it is launched. Needs no Triton.

A program is static: every size is part of it, its kernel's arguments are pointers only, first the
inputs, then the outputs, each aligned to 16 bytes. Maps are channels-last, pixels P = H*W are
numbered row by row. "Rows" are a map at the listed pixels only: row i of [P,C] belongs to the i-th
listed pixel, rows past `count` are undefined, and a pixel that is not listed counts as zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pag_ros.kernels.gpu.tiles import ceil_divide, chips_of, choose_tile, power_of_two

Dtype = Literal["fp16", "fp32", "i32"]
ACTIVATIONS = ("none", "relu", "relu6")
MIN_CAPABILITY = 80
"""Compute capability times ten; older GPUs lack what the kernels use."""

SELECT_BLOCK = 4096
"""Pixels that a Select takes at a time, at most."""

_MAX_ELEMENTS = 2**31 - 1
_MAX_DILATION = 2**20


@dataclass(frozen=True)
class Tensor:
    """An argument of a kernel.

    Attributes:
        shape: of its elements; () is a scalar in memory.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Launch:
    """How a program is launched on a compute capability.

    Attributes:
        grid: programs along x, y, z: the upper bound, those past `count` exit at once.
        warps: of 32 threads each.
        stages: of the pipeline of loads before the tensor cores.
        constants: the kernel's compile-time arguments.
    """

    grid: tuple[int, int, int]
    warps: int
    stages: int
    constants: Mapping[str, int]


@dataclass(frozen=True)
class StampSpec:
    """Write the GPU's clock (nanoseconds, low and high word): the start of a frame."""

    @property
    def name(self) -> str:
        return "pag_stamp"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return ()

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (Tensor("clock", "i32", (2,)),)


@dataclass(frozen=True)
class SelectSpec:
    """`pag.Select` of docs/operators.md over a map of height x width pixels.

    Besides `index` and `count` it gives `slot` (a pixel's position in the list, -1 where it is not
    listed) and `stamp` (the GPU's clock when the kernel began, as `StampSpec` writes it). Trimming
    compares that clock with the input `clock`, the frame's start.

    Raises:
        ValueError: a size is below 1, or there are 2**31 pixels or more.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        _check_sizes(height=self.height, width=self.width)
        _check_elements("score", self.pixels)

    @property
    def pixels(self) -> int:
        """P."""
        return self.height * self.width

    @property
    def name(self) -> str:
        return f"pag_select_h{self.height}_w{self.width}"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (
            Tensor("score", "fp32", (1, self.height, self.width)),
            Tensor("keep", "i32", ()),
            Tensor("limits", "fp32", (3,)),
            Tensor("clock", "i32", (2,)),
        )

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (
            Tensor("index", "i32", (self.pixels,)),
            Tensor("slot", "i32", (self.pixels,)),
            Tensor("count", "i32", (1,)),
            Tensor("stamp", "i32", (2,)),
        )


@dataclass(frozen=True)
class ConvSpec:
    """`pag.SparseConv` of docs/operators.md at the listed pixels.

    Attributes:
        height, width: of the map.
        channels, features: C of the input and N of the result.
        kernel: 1 or 3.
        dilation: distance of the taps in pixels; 1 with `by_map`.
        activation: "none", "relu" or "relu6".
        residual: the base is added at the listed pixels.
        x_rows, out_rows: input and result are rows in place of a map.
        base: there is a map that the pixels which are not listed get; without one they get zero.
        by_map: every pixel has its own dilation; at 0 the input takes the convolution's place.
        in_place: the result lies in the base's memory, so only listed pixels are written.

    Raises:
        ValueError: a value, or two of them together, make no program.
    """

    height: int
    width: int
    channels: int
    features: int
    kernel: int = 3
    dilation: int = 1
    activation: str = "none"
    residual: bool = False
    x_rows: bool = False
    out_rows: bool = False
    base: bool = False
    by_map: bool = False
    in_place: bool = False

    def __post_init__(self) -> None:
        _check_sizes(
            height=self.height, width=self.width, channels=self.channels, features=self.features
        )
        _check_elements("x", self.pixels * self.channels)
        _check_elements("y", self.pixels * self.features)
        _check_elements("weight", self.kernel**2 * self.channels * self.features)
        if self.kernel not in (1, 3):
            raise ValueError(f"kernel must be 1 or 3, got {self.kernel}")
        if not 1 <= self.dilation <= _MAX_DILATION:
            raise ValueError(f"dilation must be 1 to {_MAX_DILATION}, got {self.dilation}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, got {self.activation!r}")
        self._check_base()
        if self.by_map and (self.kernel != 3 or self.dilation != 1):
            raise ValueError("by_map needs kernel 3 and dilation 1: the map has the dilations")
        if self.by_map and self.channels != self.features:
            raise ValueError(
                "by_map needs as many features as channels, for the identity at dilation 0; got "
                f"{self.features} and {self.channels}"
            )

    def _check_base(self) -> None:
        if self.residual and not self.base:
            raise ValueError("residual needs a base")
        if self.base and self.out_rows:
            raise ValueError("rows have no base: they exist at the listed pixels only")
        if self.in_place and not (self.base and self.x_rows):
            # With x a map, y could be x itself, which neighbours still have to read.
            raise ValueError("in_place needs a base to lie in, and x as rows")

    @property
    def pixels(self) -> int:
        """P."""
        return self.height * self.width

    @property
    def taps(self) -> int:
        """Pixels that a result is computed from."""
        return self.kernel**2

    @property
    def name(self) -> str:
        size = f"c{self.channels}_n{self.features}_h{self.height}_w{self.width}"
        forms = f"{_form(self.x_rows)}_{_form(self.out_rows)}"
        dilation = "_bymap" if self.by_map else f"_d{self.dilation}"
        flags = {"base": self.base, "residual": self.residual, "inplace": self.in_place}
        extras = "".join(f"_{flag}" for flag, is_set in flags.items() if is_set)
        kernel = f"conv{self.kernel}x{self.kernel}"
        return f"pag_{kernel}_{forms}_{size}{dilation}_{self.activation}{extras}"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        pixels = (self.pixels,)
        given = [
            self._features_tensor("x", self.x_rows, self.channels),
            Tensor("index", "i32", pixels),
            Tensor("slot", "i32", pixels),
            Tensor("count", "i32", (1,)),
            Tensor("weight", "fp16", (self.taps, self.channels, self.features)),
            Tensor("bias", "fp32", (self.features,)),
        ]
        if self.base:
            given.append(self._features_tensor("base", False, self.features))
        if self.by_map:
            given.append(Tensor("dilation", "i32", pixels))
        return tuple(given)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return (self._features_tensor("y", self.out_rows, self.features),)

    def _features_tensor(self, name: str, is_rows: bool, channels: int) -> Tensor:
        shape = (self.pixels,) if is_rows else (1, self.height, self.width)
        return Tensor(name, "fp16", (*shape, channels))


Spec: TypeAlias = StampSpec | SelectSpec | ConvSpec


def launch(spec: Spec, capability: int, multiprocessors: int | None = None) -> Launch:
    """Grid, warps and compile-time constants of a program.

    Args:
        capability: compute capability times ten, 87 for 8.7.
        multiprocessors: of the chip; None is the largest of `tiles.CHIPS`.

    Raises:
        ValueError: the capability is below `MIN_CAPABILITY`.
    """
    if capability < MIN_CAPABILITY:
        raise ValueError(
            f"the GPU kernels need compute capability {MIN_CAPABILITY / 10}, got {capability / 10}"
        )
    if isinstance(spec, StampSpec):
        return Launch((1, 1, 1), warps=1, stages=1, constants={})
    if isinstance(spec, SelectSpec):
        return _launch_select(spec)
    return _launch_conv(spec, capability, multiprocessors or max(chips_of(capability)))


def _launch_select(spec: SelectSpec) -> Launch:
    """One program, which takes the pixels in blocks."""
    block = min(power_of_two(spec.pixels, 128), SELECT_BLOCK)
    constants = {"PIXELS": spec.pixels, "BLOCK": block}
    return Launch((1, 1, 1), warps=min(block // 32, 32), stages=1, constants=constants)


def _launch_conv(spec: ConvSpec, capability: int, multiprocessors: int) -> Launch:
    size = (spec.pixels, spec.channels, spec.features, spec.taps)
    tile = choose_tile(*size, capability, multiprocessors)
    constants = {
        "HEIGHT": spec.height,
        "WIDTH": spec.width,
        "C": spec.channels,
        "N": spec.features,
        "KERNEL": spec.kernel,
        "DILATION": spec.dilation,
        "CLAMP": ACTIVATIONS.index(spec.activation),
        "RESIDUAL": int(spec.residual),
        "X_ROWS": int(spec.x_rows),
        "OUT_ROWS": int(spec.out_rows),
        "HAS_BASE": int(spec.base),
        "BY_MAP": int(spec.by_map),
        "IN_PLACE": int(spec.in_place),
        "BLOCK_M": tile.pixels,
        "BLOCK_N": tile.features,
        "BLOCK_K": tile.channels,
    }
    grid = (
        ceil_divide(spec.pixels, tile.pixels),
        ceil_divide(spec.features, tile.features),
        1,
    )
    # The loads from x need what was loaded from `slot` before: there is a second wait in the pipe.
    waits = 2 if spec.x_rows and spec.kernel > 1 else 1
    return Launch(grid, tile.warps, waits * tile.buffers + 1, constants)


def _form(is_rows: bool) -> str:
    return "rows" if is_rows else "map"


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be 1 or more, got {size}")


def _check_elements(name: str, elements: int) -> None:
    if elements > _MAX_ELEMENTS:
        raise ValueError(f"{name} has {elements} elements, more than 32-bit offsets reach")
