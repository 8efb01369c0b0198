"""The tensor cores of Hopper: wgmma, by which four warps multiply what lies in shared memory.

Such a product is asynchronous: its result is garbage until it is waited for, what it reads must not
be overwritten before, and it sees what threads have written only after a fence of proxies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ptx.machine import WARP, Action, Array, Machine, Mask
from ptx.memory import HazardError
from ptx.program import Instruction

GROUP = 4 * WARP
_SWIZZLES = {1: (128, 7), 2: (64, 3), 3: (32, 1)}
"""Mode of a descriptor -> bytes of a row, and how many bits of the row's number are mixed in."""
_PRODUCT = re.compile(r"wgmma\.mma_async\.sync\.aligned\.m64n(\d+)k16\.f32\.f16\.f16$")
_K, _ROWS = 16, 64
_LANE = np.arange(GROUP)
_FIRST_ROW = _LANE // WARP * 16 + _LANE % WARP // 4
_FIRST_COLUMN = _LANE % 4 * 2


@dataclass
class Product:
    """A product on its way.

    Attributes:
        values: register -> its value in every lane, once it has arrived.
        reads: places of 16 bytes that it reads.
        group: that it belongs to.
    """

    values: dict[str, Array]
    reads: Array
    group: int


def decode_warpgroup(instruction: Instruction) -> Action | None:
    """The action of an instruction of this kind; None for others."""
    if instruction.name == "fence.proxy.async.shared::cta":
        return lambda machine, mask: machine.shared.fence(_blocks(machine, mask))
    if instruction.parts[0] != "wgmma":
        return None
    if found := _PRODUCT.match(instruction.name):
        return _multiply(instruction, int(found[1]))
    kind = instruction.parts[1]
    if kind == "fence":
        return _fence
    if kind == "commit_group":
        return _commit
    if kind == "wait_group":
        pending = int(instruction.operands[0])
        return lambda machine, mask: _wait(machine, pending)
    return None


def _blocks(machine: Machine, mask: Mask) -> Array:
    return np.unique(machine.block if mask is None else machine.block[mask])


def _fence(machine: Machine, mask: Mask) -> None:
    """Registers that were written before may be added to from here on."""
    machine.fenced_at = machine.steps


def _commit(machine: Machine, mask: Mask) -> None:
    machine.product_groups += 1


def _wait(machine: Machine, pending: int) -> None:
    """Let all groups but the last `pending` arrive."""
    left = []
    for product in machine.products:
        if product.group >= machine.product_groups - pending:
            left.append(product)
            continue
        machine.shared.end_reads(product.reads)
        for name, values in product.values.items():
            machine.write(name, values, None)
            machine.written_at[name] = -1  # by a product, which the next one may follow
    machine.products = left


def _multiply(instruction: Instruction, columns: int) -> Action:
    """D = A B + D, A [64,16] and B [16,columns] in shared memory, by descriptors."""
    from ptx.instructions import operand

    targets = instruction.group(0)
    a, b = (operand(text, 64) for text in instruction.operands[1:3])
    adds = operand(instruction.operands[3], 1)
    signs, transposed = instruction.operands[4:6], instruction.operands[6:8]
    if signs != ("1", "1") or len(targets) != columns // 2:
        raise NotImplementedError(instruction.text)

    def act(machine: Machine, mask: Mask) -> None:
        if mask is not None:
            # Blocks that have ended are gone, so what is left of a launch is here together.
            raise HazardError(f"{instruction.text}: part of the warps are missing")
        left, read_left = _matrix(machine, instruction, a(machine), _ROWS, transposed[0] == "1")
        right, read_right = _matrix(machine, instruction, b(machine), columns, transposed[1] == "1")
        total = _accumulator(machine, instruction, targets, columns)
        if not np.all(adds(machine)):
            total = np.where(_of_groups(machine.lanes(adds(machine)))[:, :1, None], total, 0)
        total = total + left @ right.transpose(0, 2, 1)
        values = {
            name: np.ascontiguousarray(total[:, row, column]).view(np.uint32).reshape(-1)
            for name, (row, column) in zip(targets, _places(columns), strict=True)
        }
        for name in targets:
            machine.write(name, machine.garbage(name), None)
        reads = np.concatenate([read_left, read_right])
        machine.shared.begin_reads(reads)
        machine.products.append(Product(values, reads, machine.product_groups))

    return act


def _places(columns: int) -> list[tuple[Array, Array]]:
    """Row and column of every register of every lane."""
    return [
        (_FIRST_ROW + 8 * (half // 2), _FIRST_COLUMN + 8 * piece + half % 2)
        for piece in range(columns // 8)
        for half in range(4)
    ]


def _accumulator(
    machine: Machine, instruction: Instruction, targets: list[str], columns: int
) -> Array:
    """[groups,64,columns] float32: what a product before gives, else the registers."""
    total = np.zeros((machine.block.size // GROUP, _ROWS, columns), np.float32)
    before = next((p.values for p in reversed(machine.products) if targets[0] in p.values), None)
    for name, (row, column) in zip(targets, _places(columns), strict=True):
        if before is None and machine.written_at.get(name, -1) > machine.fenced_at:
            machine.shared.tell(instruction.text, "adds to registers without a fence")
        values = machine.lanes(machine.read(name)) if before is None else before[name]
        total[:, row, column] = _of_groups(values.view(np.float32))
    return total


def _of_groups(values: Array) -> Array:
    return values.reshape(-1, GROUP)


def _matrix(
    machine: Machine, instruction: Instruction, descriptor: Array, rows: int, is_transposed: bool
) -> tuple[Array, Array]:
    """[groups,rows,16] float32 that a descriptor leads to, and the places of its 16-byte pieces."""
    given = _of_groups(machine.lanes(descriptor))
    if (given != given[:, :1]).any():
        raise HazardError(f"{instruction.text}: threads give different descriptors")
    places = []
    blocks = machine.block[::GROUP]
    for block, value in zip(blocks, given[:, 0].tolist(), strict=True):
        addresses = _pieces(instruction, int(value), rows, is_transposed)
        flat = addresses.reshape(-1)
        located = machine.shared.locate(np.full_like(flat, block), flat, 16, instruction.text)
        places.append(located.reshape(addresses.shape))
    pieces = np.stack(places)
    _check(machine, instruction, pieces)
    halves = machine.shared.rows(pieces).view(np.float16).astype(np.float32)
    if is_transposed:  # [groups, k, rows // 8, 8]
        matrix = halves.reshape(len(blocks), _K, rows).transpose(0, 2, 1)
    else:  # [groups, rows, k // 8, 8]
        matrix = halves.reshape(len(blocks), rows, _K)
    return matrix, pieces.reshape(-1)


def _check(machine: Machine, instruction: Instruction, pieces: Array) -> None:
    flat = pieces.reshape(-1)
    lanes = np.repeat(np.arange(pieces.shape[0]) * GROUP, flat.size // pieces.shape[0])
    _, epoch, warp = machine.who(lanes)
    machine.shared.check(flat, 16, epoch, warp, False, instruction.text)
    if machine.shared.is_unfenced(flat):
        machine.shared.tell(instruction.text, "is read without a fence after it was written")


def _pieces(instruction: Instruction, descriptor: int, rows: int, is_transposed: bool) -> Array:
    """Addresses of 16 bytes each: [rows, 2] along K, or [16, rows // 8] along the rows."""
    start, leading, stride = ((descriptor >> place & 0x3FFF) << 4 for place in (0, 16, 32))
    mode = descriptor >> 62
    if mode not in _SWIZZLES or descriptor >> 49 & 7:
        raise NotImplementedError(f"{instruction.text}: descriptor {descriptor:#x}")
    width, mask = _SWIZZLES[mode]
    if is_transposed:
        k, piece = np.arange(_K)[:, None], np.arange(rows // 8)
        a_row = width // 16
        offset = k % 8 * width + k // 8 * stride + piece // a_row * leading + piece % a_row * 16
    else:
        row, piece = np.arange(rows)[:, None], np.arange(2)
        offset = row // 8 * stride + row % 8 * width + piece * 16
    address: Array = start + offset
    return address ^ ((address >> 7 & mask) << 4)
