# mypy: ignore-errors
"""The Triton kernels of `SelectSpec` and `StampSpec`.

Uppercase arguments are compile-time constants; `programs` has the shapes of the others. One program
does it all: what it needs a few times over is the scores, which stay in the cache.
"""

import triton
import triton.language as tl


@triton.jit
def stamp_kernel(clock):
    """Write the GPU's clock."""
    _write_stamp(clock)


@triton.jit
def select_kernel(
    score,
    keep,
    limits,
    clock,
    index,
    slot,
    count,
    stamp,
    PIXELS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Radix search for the score of the last pixel that is taken, then one pass that lists."""
    _write_stamp(stamp)
    wanted = tl.minimum(tl.maximum(tl.load(keep), 0), PIXELS)
    threshold = tl.load(limits + 2)
    if threshold > float("-inf"):
        wanted = tl.minimum(wanted, _count_above(score, threshold, PIXELS, BLOCK))
    wanted = _trim(wanted, limits, clock, stamp)
    last_key, ties = _search(score, wanted, PIXELS, BLOCK)
    _list(score, last_key, ties, index, slot, PIXELS, BLOCK)
    tl.store(count, wanted)


@triton.jit
def _now():
    """Nanoseconds of the GPU's clock. The interpreter has no assembly: its tests replace this."""
    return tl.inline_asm_elementwise(
        "mov.u64 $0, %globaltimer;", "=l", [], dtype=tl.int64, is_pure=False, pack=1
    )


@triton.jit
def _write_stamp(stamp):
    """Low and high word of the clock. Only one thread writes, though all read their own clock."""
    now = _now()
    tl.store(stamp, now.to(tl.int32))
    tl.store(stamp + 1, (now >> 32).to(tl.int32))


@triton.jit
def _read_stamp(stamp):
    low = tl.load(stamp, volatile=True).to(tl.int64) & 0xFFFFFFFF
    return (tl.load(stamp + 1, volatile=True).to(tl.int64) << 32) | low


@triton.jit
def _trim(wanted, limits, clock, stamp):
    """What is left of `wanted` at this time of the frame."""
    # All threads take the time that one of them wrote: they must decide alike.
    tl.debug_barrier()
    elapsed = (_read_stamp(stamp) - _read_stamp(clock)).to(tl.float32) * 1e-9
    late = elapsed - tl.load(limits)
    rest = tl.load(limits + 1)
    if late > 0.0:
        share = tl.where(late < rest, 1.0 - late / rest, 0.0)
        wanted = tl.floor(wanted.to(tl.float32) * share).to(tl.int32)
    return wanted


@triton.jit
def _load_keys(score, pixel, PIXELS: tl.constexpr):  # noqa: N803
    """Scores as unsigned numbers of the same order: NaN is 0, and both zeros are equal."""
    value = tl.load(score + pixel, mask=pixel < PIXELS, other=0.0)
    value = tl.where(value == 0.0, 0.0, value)
    bits = value.to(tl.uint32, bitcast=True)
    ordered = tl.where(bits >> 31 != 0, ~bits, bits | 0x80000000)
    return tl.where(value == value, ordered, 0)


@triton.jit
def _count_above(score, threshold, PIXELS: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    above = 0
    for start in range(0, PIXELS, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        value = tl.load(score + pixel, mask=pixel < PIXELS, other=float("-inf"))
        above += tl.sum((value > threshold).to(tl.int32))
    return above


@triton.jit
def _search(score, wanted, PIXELS: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """The key of the last pixel taken, and how many pixels with exactly this key are taken."""
    last_key = tl.zeros((), tl.uint32)
    left = wanted
    for byte in tl.static_range(3, -1, -1):
        counts = _histogram(score, last_key, byte, PIXELS, BLOCK)
        better = tl.sum(counts) - tl.cumsum(counts)
        is_digit = (better < left) & (left <= better + counts)
        digit = tl.sum(tl.where(is_digit, tl.arange(0, 256), 0))
        left -= tl.sum(tl.where(is_digit, better, 0))
        last_key |= digit.to(tl.uint32) << (8 * byte)
    # No score has the highest key (it would be a NaN), so this takes no pixel.
    return tl.where(wanted > 0, last_key, 0xFFFFFFFF), left


@triton.jit
def _histogram(score, prefix, byte: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """How many keys have each value of a byte, among those that agree with `prefix` above it."""
    counts = tl.zeros((256,), tl.int32)
    for start in range(0, PIXELS, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        key = _load_keys(score, pixel, PIXELS)
        agrees = pixel < PIXELS
        if byte < 3:
            agrees = agrees & ((key ^ prefix) >> (8 * byte + 8) == 0)
        counts += tl.histogram(((key >> (8 * byte)) & 255).to(tl.int32), 256, mask=agrees)
    return counts


@triton.jit
def _list(
    score,
    last_key,
    ties,
    index,
    slot,
    PIXELS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Write list and slots: the pixels above `last_key`, and the first `ties` that equal it."""
    listed = 0
    equal_before = 0
    for start in range(0, PIXELS, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < PIXELS
        key = _load_keys(score, pixel, PIXELS)
        equal = ((key == last_key) & inside).to(tl.int32)
        rank = equal_before + tl.cumsum(equal) - equal
        is_taken = inside & ((key > last_key) | ((equal != 0) & (rank < ties)))
        taken = is_taken.to(tl.int32)
        position = listed + tl.cumsum(taken) - taken
        tl.store(index + position, pixel, mask=is_taken)
        tl.store(slot + pixel, tl.where(is_taken, position, -1), mask=inside)
        listed += tl.sum(taken)
        equal_before += tl.sum(equal)
