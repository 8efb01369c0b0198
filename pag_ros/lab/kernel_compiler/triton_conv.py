# ruff: noqa: N803 - compile-time constants are in capitals, as is usual in Triton
# mypy: ignore-errors
"""The Triton kernel of `ConvSpec`: a matrix product whose rows are gathered from listed pixels.

A program computes BLOCK_M listed pixels x BLOCK_N features. The sum runs over taps and, within a
tap, over BLOCK_K channels; a neighbour that is not there is a masked load, hence zero.

Count, pixels and slots are clamped to what exists: TensorRT times a layer on whatever its buffers
hold, and garbage there must not become an address.
"""

import triton
import triton.language as tl


@triton.jit
def conv_kernel(
    x,
    index,
    slot,
    count,
    weight,
    bias,
    base,
    dilation,
    y,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    N: tl.constexpr,
    KERNEL: tl.constexpr,
    DILATION: tl.constexpr,
    CLAMP: tl.constexpr,
    RESIDUAL: tl.constexpr,
    X_ROWS: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    HAS_BASE: tl.constexpr,
    BY_MAP: tl.constexpr,
    IN_PLACE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """`base` and `dilation` are None where the program has none."""
    item = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if not (OUT_ROWS or IN_PLACE):
        _fill_others(slot, base, y, item, n, HEIGHT * WIDTH, N, HAS_BASE)
    listed = tl.minimum(tl.load(count), HEIGHT * WIDTH)
    if tl.program_id(0) * BLOCK_M >= listed:
        return
    is_listed = item < listed
    pixel = tl.load(index + item, mask=is_listed, other=0)
    pixel = tl.minimum(tl.maximum(pixel, 0), HEIGHT * WIDTH - 1)
    distance = tl.full((BLOCK_M,), DILATION, tl.int32)
    if BY_MAP:
        distance = tl.load(dilation + pixel)

    values = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    STEPS: tl.constexpr = (C + BLOCK_K - 1) // BLOCK_K  # noqa: N806
    for step in range(KERNEL * KERNEL * STEPS):
        tap = step // STEPS
        c = (step % STEPS) * BLOCK_K + tl.arange(0, BLOCK_K)
        source, is_there = _neighbour(
            slot, item, pixel, is_listed, distance, tap, HEIGHT, WIDTH, KERNEL, X_ROWS
        )
        part = tl.load(
            x + source[:, None] * C + c[None, :],
            mask=is_there[:, None] & (c[None, :] < C),
            other=0.0,
        )
        factors = tl.load(
            weight + (tap * C + c)[:, None] * N + n[None, :],
            mask=(c[:, None] < C) & (n[None, :] < N),
            other=0.0,
        )
        values = tl.dot(part, factors, values)

    inside = is_listed[:, None] & (n[None, :] < N)
    values += tl.load(bias + n, mask=n < N, other=0.0)[None, :]
    if BY_MAP:
        place = item if X_ROWS else pixel
        own = tl.load(x + place[:, None] * C + n[None, :], mask=inside, other=0.0)
        values = tl.where((distance == 0)[:, None], own.to(tl.float32), values)
    if RESIDUAL:
        values += tl.load(base + pixel[:, None] * N + n[None, :], mask=inside, other=0.0)
    if CLAMP >= 1:
        values = tl.maximum(values, 0.0, propagate_nan=tl.PropagateNan.ALL)
    if CLAMP == 2:
        values = tl.minimum(values, 6.0, propagate_nan=tl.PropagateNan.ALL)
    target = item if OUT_ROWS else pixel
    tl.store(y + target[:, None] * N + n[None, :], values.to(tl.float16), mask=inside)


@triton.jit
def _neighbour(
    slot,
    item,
    pixel,
    is_listed,
    distance,
    tap,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    KERNEL: tl.constexpr,
    X_ROWS: tl.constexpr,
):
    """Where in x a tap of every listed pixel lies, and whether it is there at all."""
    if KERNEL == 1:
        return item if X_ROWS else pixel, is_listed
    row = pixel // WIDTH + (tap // KERNEL - 1) * distance
    column = pixel % WIDTH + (tap % KERNEL - 1) * distance
    is_there = is_listed & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    source = row * WIDTH + column
    if X_ROWS:
        source = tl.load(slot + source, mask=is_there, other=-1)
        is_there = (source >= 0) & (source < HEIGHT * WIDTH)
    return source, is_there


@triton.jit
def _fill_others(
    slot, base, y, pixel, n, PIXELS: tl.constexpr, N: tl.constexpr, HAS_BASE: tl.constexpr
):
    """Give the pixels that are not listed their base, or zero: every program does its share."""
    is_other = tl.load(slot + pixel, mask=pixel < PIXELS, other=0) < 0
    mask = is_other[:, None] & (n[None, :] < N)
    offset = pixel[:, None] * N + n[None, :]
    if HAS_BASE:
        values = tl.load(base + offset, mask=mask, other=0.0)
    else:
        values = tl.zeros(offset.shape, tl.float16)
    tl.store(y + offset, values, mask=mask)
