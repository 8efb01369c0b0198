"""Blocks of threads that run a kernel side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx.memory import Global, Hazard, HazardError, Shared
from ptx.program import Instruction, Program, parse

Array = NDArray[Any]
Mask = Array | None
"""Which lanes an instruction happens in; None is all."""
Action = Callable[["Machine", Mask], None]

WARP = 32
_DTYPES: dict[str, type[Any]] = {
    "pred": np.bool_,
    "b8": np.uint8,
    "b16": np.uint16,
    "b32": np.uint32,
    "f32": np.uint32,
    "b64": np.uint64,
    "f64": np.uint64,
}


def launch(
    text: str,
    grid: tuple[int, int, int],
    arrays: Sequence[Array],
    written: Sequence[bool],
    shared_bytes: int = 48 * 1024,
    clock: int = 0,
    max_steps: int = 1_000_000,
) -> list[Hazard]:
    """Run a kernel; what it writes is in the arrays then, if it did nothing forbidden.

    Args:
        text: PTX of one kernel.
        arrays: its arguments; the same array may be there twice.
        written: which of them it writes.
        shared_bytes: of each block.
        clock: what %globaltimer shows; every reading is a little later, as is every thread's.
        max_steps: instructions that may be taken together.

    Returns:
        Accesses that nothing orders.

    Raises:
        HazardError: an address leads nowhere or is not aligned, a warp's instruction lacks some of
            the warp, threads wait for ever, or the kernel does not end.
        NotImplementedError: an instruction is not known.
    """
    from ptx.instructions import decode

    program = parse(text)
    assert len(program.parameters) == len(arrays)
    hazards: list[Hazard] = []
    memory = Global(arrays, written, hazards)
    machine = Machine(program, grid, memory, shared_bytes, clock, max_steps, hazards)
    actions = [decode(program, each) for each in program.code]
    with np.errstate(all="ignore"):
        machine.run(actions)
    memory.give_back()
    return hazards


@dataclass
class _Copy:
    """Asynchronous copies that were asked for at once."""

    block: Array
    target: Array
    data: Array
    size: int
    group: Array


@dataclass
class Machine:
    """All blocks of a launch. A lane is a thread of a block; lanes lie block by block.

    Attributes:
        block, thread, warp: of each lane; warps count within their block.
        registers: name -> value of each lane, or one for all.
        epoch: barriers that each block has passed.
        steps: instructions taken so far.
        products: of `warpgroups`, on their way, and the number of their groups.
        written_at: register -> the step at which an instruction wrote it.
        fenced_at: the step of the last wgmma.fence.
    """

    program: Program
    grid: tuple[int, int, int]
    memory: Global
    shared_bytes: int
    clock: int
    max_steps: int
    hazards: list[Hazard]
    registers: dict[str, Any] = field(default_factory=dict)
    dtypes: dict[str, type[Any]] = field(default_factory=dict)
    copies: list[_Copy] = field(default_factory=list)
    products: list[Any] = field(default_factory=list)
    product_groups: int = 0
    written_at: dict[str, int] = field(default_factory=dict)
    fenced_at: int = -1

    def __post_init__(self) -> None:
        blocks, threads = int(np.prod(self.grid)), self.program.threads
        self.shared = Shared(blocks, self.shared_bytes, self.hazards)
        self.block = np.repeat(np.arange(blocks), threads)
        self.thread = np.tile(np.arange(threads), blocks)
        self.warp = self.thread // WARP
        self.epoch = np.zeros(blocks, np.int64)
        self.groups = np.zeros(blocks, np.int64)
        self._pc = np.zeros(blocks * threads, np.int64)
        self._is_alive = np.ones(blocks * threads, bool)
        self._waits = np.zeros(blocks * threads, bool)
        self.steps = 0

    def run(self, actions: Sequence[Action]) -> None:
        """Until all threads have ended."""
        code = self.program.code
        ends = np.array([each.parts[0] == "ret" and not each.guard for each in code] + [True])
        while True:
            # Who has nothing left to do need not wait for others to come this far.
            self._is_alive &= ~ends[self._pc]
            self._leave_ended_blocks()
            ready = self._is_alive & ~self._waits
            if not self._is_alive.any():
                return
            if not ready.any():
                raise HazardError("threads wait at a barrier that others never reach")
            first = int(self._pc[ready].min())
            now = ready & (self._pc == first)
            others = self._pc[ready & ~now]
            self._run_together(actions, first, now, int(others.min()) if others.size else -1)

    def _run_together(self, actions: Sequence[Action], place: int, now: Array, stop: int) -> None:
        """Instructions of lanes that are at the same one, until they part or others join."""
        mask = None if now.all() else now
        code = self.program.code
        while True:
            self.steps += 1
            if self.steps > self.max_steps:
                raise HazardError("the kernel does not end")
            instruction = code[place]
            kind = instruction.parts[0]
            if kind == "bra":
                self._branch(instruction, place, now, mask)
                return
            if kind == "ret":
                ends = self._guarded(instruction, now)
                self._is_alive[ends] = False
                self._pc[now] = place + 1
                return
            if kind in ("bar", "barrier"):
                self._pc[now] = place + 1
                if not self._pass_barrier(now):
                    return
            else:
                actions[place](self, mask)
            place += 1
            if place in (stop, len(code)):
                self._pc[now] = place
                return

    def _branch(self, instruction: Instruction, place: int, now: Array, mask: Mask) -> None:
        taken = self._guarded(instruction, now)
        self._pc[now] = place + 1
        self._pc[taken] = self.program.labels[instruction.operands[0]]

    def _guarded(self, instruction: Instruction, now: Array) -> Array:
        if not instruction.guard:
            return now
        value = self.read(instruction.guard) == instruction.guarded_by
        return now & value

    def _pass_barrier(self, now: Array) -> bool:
        """Whether all that arrived may go on at once; else they wait for the rest."""
        if not self._waits.any() and (now == self._is_alive).all():
            self.epoch[np.unique(self.block[now])] += 1
            return True
        self._waits |= now
        missing = np.unique(self.block[self._is_alive & ~self._waits])
        passes = self._waits & ~np.isin(self.block, missing)
        self._waits[passes] = False
        self.epoch[np.unique(self.block[passes])] += 1
        return bool(passes[now].all()) and bool((passes == now).all())

    def _leave_ended_blocks(self) -> None:
        """Blocks that have ended take no more time."""
        lives = self._is_alive.reshape(-1, self.program.threads).any(axis=1)
        if lives.all():
            return
        kept = np.repeat(lives, self.program.threads)
        lanes = kept.size
        for name in ("block", "thread", "warp", "_pc", "_is_alive", "_waits"):
            setattr(self, name, getattr(self, name)[kept])
        for name, value in self.registers.items():
            if np.ndim(value) and np.size(value) == lanes:
                self.registers[name] = value[kept]

    def read(self, name: str) -> Any:
        """A register's value in every lane, or one for all.

        Compilers leave halves of registers unwritten that nothing depends on; so what was never
        written is garbage, an address that leads nowhere and a number that is none.
        """
        value = self.registers.get(name)
        return self.garbage(name) if value is None else value

    def write(self, name: str, value: Any, mask: Mask) -> None:
        """Set a register in the lanes of a mask."""
        if name == "_":
            return
        self.written_at[name] = self.steps
        dtype = self.dtype_of(name)
        if mask is not None:
            before = self.registers.get(name)
            if before is None:
                before = self.garbage(name)
            value = np.where(mask, value, before)
        self.registers[name] = value if value.dtype == dtype else value.astype(dtype)

    def garbage(self, name: str) -> Any:
        """What a register holds that nobody has written."""
        dtype = self.dtype_of(name)
        return dtype(0x7E7E7E7E7E7E7E7E & (1 << 8 * np.dtype(dtype).itemsize) - 1)

    def dtype_of(self, name: str) -> type[Any]:
        """Of a register."""
        if name not in self.dtypes:
            self.dtypes[name] = _DTYPES[self.program.registers[name.rstrip("0123456789")]]
        return self.dtypes[name]

    def lanes(self, value: Any) -> Array:
        """A value in every lane."""
        return value if np.ndim(value) else np.full(self.block.shape, value)

    def who(self, chosen: Array) -> tuple[Array, Array, Array]:
        """Block, epoch and warp of some lanes."""
        block = self.block[chosen]
        return block, self.epoch[block], self.warp[chosen]

    def require_whole_warps(self, mask: Mask, instruction: Instruction) -> None:
        """What a warp does together is undefined where some of it are missing."""
        if mask is None:
            return
        active = mask.reshape(-1, WARP)
        if (active.any(axis=1) != active.all(axis=1)).any():
            raise HazardError(f"{instruction.text}: part of a warp is missing")

    def begin_copies(
        self,
        instruction: Instruction,
        lanes: Array,
        target: Array,
        source: Array,
        given: Array,
        size: int,
    ) -> None:
        """Asynchronous copies of `given` bytes each, the rest of `size` is zero."""
        block, epoch, warp = who = self.who(lanes)
        places = self.shared.locate(block, target, size, instruction.text)
        # It might arrive at once, so it counts as a write now.
        self.shared.check(places, size, epoch, warp, True, instruction.text)
        reads = given > 0
        self.memory.check(
            source[reads], size, size, tuple(each[reads] for each in who), False, instruction.text
        )
        data = self.memory.copy(np.where(reads, source, 0), size, given)
        self.shared.depart(places, size)
        self.copies.append(_Copy(block, places, data, size, self.groups[block]))

    def commit_copies(self, mask: Mask) -> None:
        """Close the group of copies that blocks have asked for."""
        self.groups[np.unique(self.block if mask is None else self.block[mask])] += 1

    def finish_copies(self, mask: Mask, pending: int) -> None:
        """Let all groups but the last `pending` arrive."""
        waits = np.zeros(self.epoch.size, bool)
        waits[self.block if mask is None else self.block[mask]] = True
        left = []
        for copy in self.copies:
            arrives = waits[copy.block] & (copy.group < self.groups[copy.block] - pending)
            if arrives.any():
                block = copy.block[arrives]
                self.shared.arrive(
                    copy.target[arrives], copy.size, self.epoch[block], copy.data[arrives]
                )
            if not arrives.all():
                rest = ~arrives
                kept = (copy.block[rest], copy.target[rest], copy.data[rest])
                left.append(_Copy(*kept, copy.size, copy.group[rest]))
        self.copies = left
