"""What each instruction does to the lanes that take it.

Registers hold unsigned integers, predicates hold booleans; an instruction looks at them as its type
says. PTX ISA 8.7 is the reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ptx.machine import WARP, Action, Array, Machine, Mask
from ptx.matrices import decode_matrix
from ptx.program import Instruction, Program
from ptx.warpgroups import decode_warpgroup

Value = Any
"""[lanes] or one for all, of a NumPy type."""
Get = Callable[[Machine], Value]

_UNSIGNED: dict[int, type[Any]] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED: dict[int, type[Any]] = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
_TICK_NS = 32
"""Between two readings of the clock, and between those of neighbouring threads."""
_ALL_LANES = ("-1", "0xffffffff", "4294967295")
_ADDRESS = re.compile(r"^(%?\w+)\s*(?:\+\s*(-?\w+))?$")


def decode(program: Program, instruction: Instruction) -> Action:
    """The action of an instruction; branches and barriers are the machine's business.

    Raises:
        NotImplementedError: it is not known.
    """
    kind = instruction.parts[0]
    if kind in ("bra", "ret", "bar", "barrier"):
        return _nothing
    known = {
        "ld": _load,
        "st": _store,
        "cp": _copy,
        "atom": _atomic_add,
        "shfl": _shuffle,
        "redux": _sum_of_warp,
        "vote": _ballot,
        "mov": _move,
        "cvt": _convert,
        "setp": _compare,
        "selp": _choose,
        "prmt": _permute,
    }
    action = (
        known[kind](instruction)
        if kind in known
        else decode_matrix(instruction) or decode_warpgroup(instruction) or _arithmetic(instruction)
    )
    return action if not instruction.guard else _guarded(instruction, action)


def _nothing(machine: Machine, mask: Mask) -> None:
    """Nothing to do here."""


def _guarded(instruction: Instruction, action: Action) -> Action:
    def act(machine: Machine, mask: Mask) -> None:
        value = machine.read(instruction.guard) == instruction.guarded_by
        chosen = machine.lanes(value) if mask is None else mask & value
        if chosen.all():
            action(machine, None)
        elif chosen.any():
            action(machine, chosen)

    return act


def operand(text: str, bits: int) -> Get:
    """What an operand gives, as an unsigned integer of so many bits or a boolean."""
    dtype = _UNSIGNED[max(bits, 16)]
    special: dict[str, Get] = {
        "%tid.x": lambda m: m.thread.astype(np.uint32),
        "%ctaid.x": lambda m: (m.block % m.grid[0]).astype(np.uint32),
        "%ctaid.y": lambda m: (m.block // m.grid[0] % m.grid[1]).astype(np.uint32),
        "%ctaid.z": lambda m: (m.block // (m.grid[0] * m.grid[1])).astype(np.uint32),
        "%globaltimer": _read_clock,
    }
    if text in special:
        return special[text]
    if text.startswith("%"):
        return lambda m: m.read(text)
    if text.startswith("0f"):
        number = int(text[2:], 16)
    else:
        # The U of an unsigned constant says nothing that the instruction does not.
        number = 0 if text == "global_smem" else int(text.removesuffix("U"), 0)
    constant = dtype(number & ((1 << (8 * np.dtype(dtype).itemsize)) - 1))
    return lambda m: constant


def _read_clock(machine: Machine) -> Array:
    machine.clock += _TICK_NS
    return (machine.clock + _TICK_NS * machine.thread).astype(np.uint64)


def address_of(instruction: Instruction, text: str) -> Get:
    """What an operand in brackets leads to, [lanes] int64."""
    found = _ADDRESS.match(text.strip("[] "))
    if found is None:
        raise NotImplementedError(instruction.text)
    offset = int(found[2], 0) if found[2] else 0
    base = operand(found[1], 64)
    return lambda m: m.lanes(base(m)).astype(np.int64) + offset


def _bits(kind: str) -> int:
    return 1 if kind == "pred" else int(re.sub(r"\D", "", kind.split("x")[0]))


def _chosen(machine: Machine, mask: Mask) -> Array:
    return np.arange(machine.block.size) if mask is None else np.flatnonzero(mask)


# Memory.


def _load(instruction: Instruction) -> Action:
    bits, count = _bits(instruction.parts[-1]), _vector(instruction)
    size, targets = bits // 8, instruction.group(0)
    if instruction.parts[1] == "param":
        return _load_parameter(instruction)
    shared = "shared" in instruction.parts
    address = address_of(instruction, instruction.operands[1])

    def act(machine: Machine, mask: Mask) -> None:
        lanes = _chosen(machine, mask)
        places = _reach(machine, instruction, lanes, address(machine)[lanes], size * count, False)
        memory = machine.shared if shared else machine.memory
        for number, target in enumerate(targets):
            found = memory.load(places + number * size, size)
            values = np.zeros(machine.block.size, found.dtype)
            values[lanes] = found
            machine.write(target, values, mask)

    return act


def _store(instruction: Instruction) -> Action:
    bits, count = _bits(instruction.parts[-1]), _vector(instruction)
    size = bits // 8
    shared = "shared" in instruction.parts
    address = address_of(instruction, instruction.operands[0])
    sources = [operand(text, bits) for text in instruction.group(1)]

    def act(machine: Machine, mask: Mask) -> None:
        lanes = _chosen(machine, mask)
        places = _reach(machine, instruction, lanes, address(machine)[lanes], size * count, True)
        memory = machine.shared if shared else machine.memory
        for number, source in enumerate(sources):
            values = machine.lanes(source(machine))[lanes].astype(_UNSIGNED[bits])
            memory.store(places + number * size, values, size)
            if (memory.load(places + number * size, size) != values).any():
                memory.tell(instruction.text, "writes different values to one place")

    return act


def _reach(
    machine: Machine, instruction: Instruction, lanes: Array, address: Array, size: int, write: bool
) -> Array:
    """Checked places of an access in the memory that the instruction names."""
    block, epoch, warp = machine.who(lanes)
    if "shared" in instruction.parts:
        places = machine.shared.locate(block, address, size, instruction.text)
        machine.shared.check(places, size, epoch, warp, write, instruction.text)
        return places
    machine.memory.check(address, size, size, (block, epoch, warp), write, instruction.text)
    return address


def _load_parameter(instruction: Instruction) -> Action:
    name = instruction.operands[1].strip("[] ")

    def act(machine: Machine, mask: Mask) -> None:
        place = machine.memory.arguments[machine.program.parameters[name]]
        machine.write(instruction.operands[0], np.uint64(place), mask)

    return act


def _vector(instruction: Instruction) -> int:
    found = re.search(r"\.v(\d)\.", instruction.name)
    return int(found[1]) if found else 1


def _copy(instruction: Instruction) -> Action:
    """cp.async and what waits for it."""
    kind = instruction.parts[2]
    if kind == "commit_group":
        return lambda machine, mask: machine.commit_copies(mask)
    if kind == "wait_group":
        pending = int(instruction.operands[0])
        return lambda machine, mask: machine.finish_copies(mask, pending)
    if kind not in ("ca", "cg"):
        raise NotImplementedError(instruction.text)
    target = address_of(instruction, instruction.operands[0])
    source = address_of(instruction, instruction.operands[1])
    size = int(instruction.operands[2], 0)
    has_given = len(instruction.operands) > 3
    given = operand(instruction.operands[3] if has_given else str(size), 32)

    def act(machine: Machine, mask: Mask) -> None:
        lanes = _chosen(machine, mask)
        machine.begin_copies(
            instruction,
            lanes,
            target(machine)[lanes],
            source(machine)[lanes],
            machine.lanes(given(machine))[lanes].astype(np.int64),
            size,
        )

    return act


def _atomic_add(instruction: Instruction) -> Action:
    if "shared" not in instruction.parts or instruction.parts[-2:] != ("add", "u32"):
        raise NotImplementedError(instruction.text)
    address = address_of(instruction, instruction.operands[1])
    source = operand(instruction.operands[2], 32)

    def act(machine: Machine, mask: Mask) -> None:
        lanes = _chosen(machine, mask)
        block, epoch, _ = machine.who(lanes)
        places = machine.shared.locate(block, address(machine)[lanes], 4, instruction.text)
        added = machine.lanes(source(machine))[lanes]
        values = np.zeros(machine.block.size, np.uint32)
        values[lanes] = machine.shared.add(places, added, epoch, instruction.text)
        machine.write(instruction.operands[0], values, mask)

    return act


# Between the lanes of a warp.


def _shuffle(instruction: Instruction) -> Action:
    """From the lane `distance` before (up), from one lane for all (idx), or from the lane whose
    number differs in the bits of `distance` (bfly)."""
    source = operand(instruction.operands[1], 32)
    distance = int(instruction.operands[2], 0)
    how = (instruction.parts[2], instruction.operands[3])
    if how not in (("up", "0"), ("idx", "31"), ("bfly", "31")) or not 0 <= distance < WARP:
        raise NotImplementedError(instruction.text)
    target, _, is_valid = instruction.operands[0].partition("|")

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)
        values = machine.lanes(source(machine))
        has_source = machine.thread % WARP >= (distance if how[0] == "up" else 0)
        if how[0] == "up":
            moved = np.where(has_source, np.roll(values, distance), values)
        elif how[0] == "bfly":
            moved = values.reshape(-1, WARP)[:, np.arange(WARP) ^ distance].reshape(-1)
        else:
            moved = np.repeat(values.reshape(-1, WARP)[:, distance], WARP)
        machine.write(target, moved, mask)
        if is_valid:
            machine.write(is_valid, has_source, mask)

    return act


def _sum_of_warp(instruction: Instruction) -> Action:
    if instruction.name != "redux.sync.add.s32":
        raise NotImplementedError(instruction.text)
    source = operand(instruction.operands[1], 32)

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)
        values = machine.lanes(source(machine)).reshape(-1, WARP)
        sums = values.sum(axis=1, dtype=np.uint32)
        machine.write(instruction.operands[0], np.repeat(sums, WARP), mask)

    return act


def _ballot(instruction: Instruction) -> Action:
    """A bit of every lane of the warp: whether its predicate, perhaps negated, holds."""
    if instruction.name != "vote.sync.ballot.b32" or instruction.operands[2] not in _ALL_LANES:
        raise NotImplementedError(instruction.text)
    text = instruction.operands[1]
    source, is_negated = operand(text.removeprefix("!"), 1), text.startswith("!")

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)
        values = machine.lanes(source(machine)).astype(bool).reshape(-1, WARP) != is_negated
        words = (values.astype(np.uint64) << np.arange(WARP, dtype=np.uint64)).sum(axis=1)
        machine.write(instruction.operands[0], np.repeat(words.astype(np.uint32), WARP), mask)

    return act


# From register to register.


def _move(instruction: Instruction) -> Action:
    kind = instruction.parts[-1]
    target, source = instruction.operands
    if target.startswith("{"):
        return _unpack(instruction, _bits(kind))
    if source.startswith("{"):
        return _pack(instruction, _bits(kind))
    get = operand(source, _bits(kind))
    if kind == "pred" and not source.startswith("%"):
        value = np.bool_(source not in ("0", "false"))
        return lambda machine, mask: machine.write(target, value, mask)
    return lambda machine, mask: machine.write(target, get(machine), mask)


def _unpack(instruction: Instruction, bits: int) -> Action:
    source, targets = operand(instruction.operands[1], bits), instruction.group(0)
    part = bits // len(targets)

    def act(machine: Machine, mask: Mask) -> None:
        value = source(machine)
        for number, target in enumerate(targets):
            shifted = value >> value.dtype.type(number * part)
            machine.write(target, shifted.astype(_UNSIGNED[part]), mask)

    return act


def _pack(instruction: Instruction, bits: int) -> Action:
    texts = instruction.group(1)
    part, dtype = bits // len(texts), _UNSIGNED[bits]
    sources = [operand(text, part) for text in texts]

    def act(machine: Machine, mask: Mask) -> None:
        value = dtype(0)
        for number, source in enumerate(sources):
            value = value | (source(machine).astype(dtype) << dtype(number * part))
        machine.write(instruction.operands[0], value, mask)

    return act


def _compare(instruction: Instruction) -> Action:
    kind, how = instruction.parts[-1], instruction.parts[1]
    first, second = (operand(text, _bits(kind)) for text in instruction.operands[1:3])
    plain: dict[str, Callable[[Value, Value], Value]] = {
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
    }
    if how not in (*plain, "num", "nan") and how.removesuffix("u") not in plain:
        raise NotImplementedError(instruction.text)

    def act(machine: Machine, mask: Mask) -> None:
        x, y = (_typed(get(machine), kind) for get in (first, second))
        if how in plain:
            result = plain[how](x, y)
            if kind == "f32" and how == "ne":  # false where either is NaN, unlike NumPy's
                result = result & ~(np.isnan(x) | np.isnan(y))
        else:
            is_nan = np.isnan(x) | np.isnan(y)
            if how == "num":
                result = ~is_nan
            elif how == "nan":
                result = is_nan
            else:
                result = plain[how.removesuffix("u")](x, y) | is_nan
        machine.write(instruction.operands[0], result, mask)

    return act


def _choose(instruction: Instruction) -> Action:
    bits = _bits(instruction.parts[-1])
    first, second = (operand(text, bits) for text in instruction.operands[1:3])
    condition = operand(instruction.operands[3], 1)

    def act(machine: Machine, mask: Mask) -> None:
        value = np.where(condition(machine), first(machine), second(machine))
        machine.write(instruction.operands[0], value, mask)

    return act


def _permute(instruction: Instruction) -> Action:
    """Four of the eight bytes of two registers; the highest bit of a selector's digit asks for the
    sign of its byte, eight times."""
    if instruction.name != "prmt.b32":
        raise NotImplementedError(instruction.text)
    low, high, selector = (operand(text, 32) for text in instruction.operands[1:])

    def act(machine: Machine, mask: Mask) -> None:
        of, chosen = np.uint64, selector(machine).astype(np.uint64)
        both = (high(machine).astype(of) << of(32)) | low(machine).astype(of)
        result = of(0)
        for place in range(4):
            digit = chosen >> of(4 * place)
            byte = both >> (of(8) * (digit & of(7))) & of(0xFF)
            signs = of(0xFF) * (byte >> of(7))
            result = result | np.where(digit & of(8), signs, byte) << of(8 * place)
        machine.write(instruction.operands[0], result.astype(np.uint32), mask)

    return act


def _typed(value: Value, kind: str) -> Value:
    """A register as a type looks at it."""
    if kind == "f32":
        return value.view(np.float32)
    return value.view(_SIGNED[_bits(kind)]) if kind[0] == "s" else value


def _convert(instruction: Instruction) -> Action:
    to, of = instruction.parts[-2:]
    if to == "f16x2":
        return _convert_pair(instruction)
    get = operand(instruction.operands[1], _bits(of))
    rounding = instruction.parts[1]
    known = {
        ("f32", "f16"): lambda v: v.view(np.float16).astype(np.float32),
        ("f32", "s32"): lambda v: v.view(np.int32).astype(np.float32),
        ("f32", "u32"): lambda v: v.astype(np.float32),
        ("f32", "s64"): lambda v: v.view(np.int64).astype(np.float32),
        ("f32", "f32"): lambda v: np.floor(_flushed(v.view(np.float32))),
        ("s32", "f32"): lambda v: _truncated(v.view(np.float32)),
        ("f16", "f32"): lambda v: v.view(np.float32).astype(np.float16),
    }
    wanted = {("f32", "f32"): "rmi", ("s32", "f32"): "rzi", ("f16", "f32"): "rn"}.get((to, of))
    if to == "f16" and len(instruction.parts) > 4:  # .relu, .satfinite
        raise NotImplementedError(instruction.text)
    if (to, of) in known:
        if wanted not in (None, rounding):
            raise NotImplementedError(instruction.text)
        function = known[to, of]
    elif to[0] in "su" and of[0] in "su":
        function = _between_integers(to, of)
    else:
        raise NotImplementedError(instruction.text)

    def act(machine: Machine, mask: Mask) -> None:
        value = function(get(machine))
        value = value.view(_UNSIGNED[8 * value.dtype.itemsize])
        machine.write(instruction.operands[0], value, mask)

    return act


def _between_integers(to: str, of: str) -> Callable[[Value], Value]:
    """Narrower ones are cut, wider ones are filled by the sign of what they come from."""
    source = (_SIGNED if of[0] == "s" else _UNSIGNED)[_bits(of)]
    target = (_SIGNED if to[0] == "s" else _UNSIGNED)[_bits(to)]

    def convert(value: Value) -> Value:
        return value.astype(_UNSIGNED[_bits(of)]).view(source).astype(target)

    return convert


def _truncated(value: Value) -> Value:
    """Towards zero and into the range of int32; NaN becomes zero."""
    limits = np.iinfo(np.int32)
    cut = np.nan_to_num(np.trunc(value.astype(np.float64)))
    return np.clip(cut, limits.min, limits.max).astype(np.int64).astype(np.int32)


def _convert_pair(instruction: Instruction) -> Action:
    if instruction.parts[1] != "rn":
        raise NotImplementedError(instruction.text)
    high, low = (operand(text, 32) for text in instruction.operands[1:3])

    def half(value: Value) -> Value:
        return value.view(np.float32).astype(np.float16).view(np.uint16).astype(np.uint32)

    def act(machine: Machine, mask: Mask) -> None:
        value = (half(high(machine)) << np.uint32(16)) | half(low(machine))
        machine.write(instruction.operands[0], value, mask)

    return act


def _flushed(value: Value) -> Value:
    """Subnormal numbers as zero, for .ftz."""
    return np.where(np.abs(value) < np.finfo(np.float32).tiny, np.float32(0) * value, value)


# Arithmetic.


def _arithmetic(instruction: Instruction) -> Action:
    kind = instruction.parts[-1]
    if kind == "pred":
        function = _LOGIC.get(instruction.parts[0])
    elif kind == "f32":
        function = _floating(instruction)
    elif kind in ("f32x2", "s16x2"):
        function = _in_pairs(instruction)
    else:
        function = _integer(instruction)
    if function is None:
        raise NotImplementedError(instruction.text)
    wide = "wide" in instruction.parts
    widths = [_bits(kind) if kind not in ("f32x2", "s16x2") else 64 if kind[0] == "f" else 32] * 2
    widths += [2 * widths[0] if wide else widths[0]]
    if instruction.parts[0] in ("shl", "shr", "bfe"):
        widths[1:] = [32, 32]
    sources = [
        operand(text, bits) for text, bits in zip(instruction.operands[1:], widths, strict=False)
    ]

    def act(machine: Machine, mask: Mask) -> None:
        value = function(*(get(machine) for get in sources))
        machine.write(instruction.operands[0], value, mask)

    return act


_LOGIC: dict[str, Callable[..., Value]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
    "not": np.logical_not,
}


def _floating(instruction: Instruction) -> Callable[..., Value] | None:
    keeps_nan = "NaN" in instruction.parts
    known: dict[str, Callable[..., Value]] = {
        "add": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "div": np.divide,
        "neg": np.negative,
        "abs": np.abs,
        "max": np.maximum if keeps_nan else np.fmax,
        "min": np.minimum if keeps_nan else np.fmin,
        # Exact in float64 up to the sum, which is rounded twice: once in 2**29 times it matters.
        "fma": lambda x, y, z: (x.astype(np.float64) * y + z).astype(np.float32),
    }
    function = known.get(instruction.parts[0])
    if function is None:
        return None

    def compute(*values: Value) -> Value:
        return function(*(value.view(np.float32) for value in values)).view(np.uint32)

    return compute


def _in_pairs(instruction: Instruction) -> Callable[..., Value] | None:
    """Two numbers in one register."""
    dtype = np.float32 if instruction.parts[-1] == "f32x2" else np.int16
    known: dict[str, Callable[..., Value]] = {
        "add": np.add,
        "mul": np.multiply,
        "fma": lambda x, y, z: (x.astype(np.float64) * y + z).astype(dtype),
    }
    function = known.get(instruction.parts[0])
    if function is None:
        return None

    def compute(*values: Value) -> Value:
        arrays = [np.ascontiguousarray(value) for value in np.broadcast_arrays(*values)]
        result = function(*(array[..., None].view(dtype) for array in arrays))
        return np.ascontiguousarray(result).view(arrays[0].dtype)[..., 0]

    return compute


def _integer(instruction: Instruction) -> Callable[..., Value] | None:
    name, kind = instruction.parts[0], instruction.parts[-1]
    bits, is_signed = _bits(kind), kind[0] == "s"
    if bits not in _UNSIGNED:
        return None
    if name in ("mul", "mad"):
        return _product(instruction, bits, is_signed)
    unsigned = _UNSIGNED[bits]
    seen = (lambda v: v.view(_SIGNED[bits])) if is_signed else (lambda v: v)
    known: dict[str, Callable[..., Value]] = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "and": lambda x, y: x & y,
        "or": lambda x, y: x | y,
        "xor": lambda x, y: x ^ y,
        "not": lambda x: ~x,
        "neg": lambda x: (~x + unsigned(1)).astype(unsigned),
        "min": lambda x, y: np.minimum(seen(x), seen(y)).view(unsigned),
        "max": lambda x, y: np.maximum(seen(x), seen(y)).view(unsigned),
        "shl": lambda x, y: np.where(
            y < bits, x << (y & np.uint32(bits - 1)).astype(unsigned), unsigned(0)
        ),
        "shr": lambda x, y: _shifted_right(seen(x), y, bits).view(unsigned),
        "bfe": lambda x, y, z: _field(x, y, z, is_signed),
        "popc": lambda x: np.bitwise_count(x).astype(np.uint32),
    }
    return known.get(name)


def _shifted_right(value: Value, distance: Value, bits: int) -> Value:
    """The sign, or zeros, move in from the left; all the way for distances beyond the width."""
    near = value >> np.minimum(distance, bits - 1).astype(value.dtype)
    if np.issubdtype(value.dtype, np.signedinteger):
        return near
    return np.where(distance < bits, near, value.dtype.type(0))


def _field(value: Value, start: Value, length: Value, is_signed: bool) -> Value:
    """Bits of a 32-bit register from `start` on."""
    raw = (value.astype(np.int64) >> start.astype(np.int64)) & (
        (np.int64(1) << length.astype(np.int64)) - 1
    )
    if is_signed:
        sign = np.where(length > 0, raw >> np.maximum(length.astype(np.int64) - 1, 0) & 1, 0)
        raw = raw - (sign << length.astype(np.int64))
    return raw.astype(np.uint32)


def _product(instruction: Instruction, bits: int, is_signed: bool) -> Callable[..., Value] | None:
    types = _SIGNED if is_signed else _UNSIGNED
    unsigned, narrow = _UNSIGNED[bits], types[bits]
    adds = instruction.parts[0] == "mad"
    part = instruction.parts[1]
    if part == "lo":
        return (lambda x, y, z: x * y + z) if adds else (lambda x, y: x * y)
    if bits == 64 or part not in ("wide", "hi") or (part == "hi" and adds):
        return None
    double = types[2 * bits]

    def whole(x: Value, y: Value) -> Value:
        return (x.view(narrow).astype(double) * y.view(narrow).astype(double)).view(
            _UNSIGNED[2 * bits]
        )

    if part == "hi":
        return lambda x, y: (whole(x, y) >> _UNSIGNED[2 * bits](bits)).astype(unsigned)
    return (lambda x, y, z: whole(x, y) + z) if adds else whole
