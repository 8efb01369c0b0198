"""The instructions of the tensor cores: what a whole warp does with pieces of matrices."""

from __future__ import annotations

import numpy as np

from ptx.machine import WARP, Action, Array, Machine, Mask
from ptx.program import Instruction

_LANE = np.arange(WARP)
_ROW, _COLUMN = _LANE // 4, _LANE % 4 * 2
"""Where a lane's first value lies in a piece of 8x8."""


def decode_matrix(instruction: Instruction) -> Action | None:
    """The action of an instruction of this kind; None for others."""
    name = instruction.name
    if name == "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32":
        return _multiply(instruction)
    if name.startswith("ldmatrix.sync.aligned.m8n8.x") and name.endswith(".shared.b16"):
        return _load_pieces(instruction)
    if name.startswith("stmatrix.sync.aligned.m8n8.x") and name.endswith(".shared.b16"):
        return _store_pieces(instruction)
    return None


def _load_pieces(instruction: Instruction) -> Action:
    """Eight lanes each give the rows of a piece; every lane gets two values of each piece."""
    from ptx.instructions import address_of

    targets, address = instruction.group(0), address_of(instruction, instruction.operands[1])
    is_transposed = "trans" in instruction.parts

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)
        pieces = _pieces_at(machine, mask, instruction, address(machine), len(targets), False)
        rows = machine.shared.rows(pieces).reshape(-1, len(targets), 8, 8)
        if is_transposed:
            rows = rows.transpose(0, 1, 3, 2)
        for number, target in enumerate(targets):
            pairs = np.ascontiguousarray(rows[:, number].reshape(-1, 8, 4, 2)).view(np.uint32)
            _write_warps(machine, mask, target, pairs.reshape(-1))

    return act


def _store_pieces(instruction: Instruction) -> Action:
    from ptx.instructions import address_of

    sources, address = instruction.group(1), address_of(instruction, instruction.operands[0])
    is_transposed = "trans" in instruction.parts

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)
        pieces = _pieces_at(machine, mask, instruction, address(machine), len(sources), True)
        values = [
            _read_warps(machine, mask, source).reshape(-1, 8, 4, 1).view(np.uint16)
            for source in sources
        ]
        rows = np.stack([each.reshape(-1, 8, 8) for each in values], axis=1)
        if is_transposed:
            rows = rows.transpose(0, 1, 3, 2)
        machine.shared.store_rows(pieces, np.ascontiguousarray(rows).reshape(-1, 8))

    return act


def _pieces_at(
    machine: Machine,
    mask: Mask,
    instruction: Instruction,
    address: Array,
    pieces: int,
    writes: bool,
) -> Array:
    """Checked places of all rows: those that the first 8 * pieces lanes of each warp name."""
    gives = np.tile(8 * pieces > _LANE, address.size // WARP)
    lanes = np.flatnonzero(gives if mask is None else gives & mask)
    block, epoch, warp = machine.who(lanes)
    places = machine.shared.locate(block, address[lanes], 16, instruction.text)
    machine.shared.check(places, 16, epoch, warp, writes, instruction.text)
    return places


def _multiply(instruction: Instruction) -> Action:
    """D = A B + C with fp16 factors, exact products and sums in fp32.

    A GPU adds in an order of its own, and with fewer bits where the addends differ much.
    """
    d, a, b, c = (instruction.group(place) for place in range(4))

    def act(machine: Machine, mask: Mask) -> None:
        machine.require_whole_warps(mask, instruction)

        def halves(name: str) -> Array:
            pairs = _read_warps(machine, mask, name).reshape(-1, WARP, 1)
            return pairs.view(np.float16).astype(np.float32)

        def floats(name: str) -> Array:
            return _read_warps(machine, mask, name).view(np.float32).reshape(-1, WARP)

        count = floats(c[0]).shape[0]
        left = np.zeros((count, 16, 16), np.float32)
        right = np.zeros((count, 16, 8), np.float32)
        total = np.zeros((count, 16, 8), np.float32)
        for number, name in enumerate(a):
            pair = halves(name)
            for half in (0, 1):
                row, column = _ROW + 8 * (number % 2), _COLUMN + 8 * (number // 2) + half
                left[:, row, column] = pair[..., half]
        for number, name in enumerate(b):
            pair = halves(name)
            for half in (0, 1):
                right[:, _COLUMN + 8 * number + half, _ROW] = pair[..., half]
        for number, name in enumerate(c):
            total[:, _ROW + 8 * (number // 2), _COLUMN + number % 2] = floats(name)
        total += left @ right
        for number, name in enumerate(d):
            values = total[:, _ROW + 8 * (number // 2), _COLUMN + number % 2]
            _write_warps(machine, mask, name, np.ascontiguousarray(values).view(np.uint32).ravel())

    return act


def _read_warps(machine: Machine, mask: Mask, name: str) -> Array:
    """[active lanes] of a register, in a copy of its own."""
    values = machine.lanes(machine.read(name))
    return np.array(values if mask is None else values[mask])


def _write_warps(machine: Machine, mask: Mask, name: str, values: Array) -> None:
    """Set a register from [active lanes]."""
    if mask is None:
        machine.write(name, values, None)
        return
    every = np.zeros(machine.block.size, values.dtype)
    every[mask] = values
    machine.write(name, every, mask)
