"""What addresses lead to, and whether those who meet there are in order.

Within a block a barrier orders what different warps do, and nothing else does; between the blocks
of a launch nothing does at all. Two accesses of the same place, one of them a write, that nothing
orders are a hazard, also if the outcome is right this time. Within a warp instructions count as
ordered.

Shared memory begins as NaN. Between the arrays of global memory lie zones that nobody may touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GUARD_BYTES = 1 << 16
_MANY, _COPY = 63, 62
"""In the place of a warp: several of them; a copy that has arrived, but not for others yet."""
_TYPES: dict[int, type[Any]] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


class HazardError(RuntimeError):
    """The kernel did what no kernel may: the text names the instruction."""


@dataclass(frozen=True)
class Hazard:
    """Accesses that nothing orders.

    Attributes:
        instruction: the later one.
        what: how they meet.
    """

    instruction: str
    what: str


class Tracker:
    """Who was last at each place: warp and epoch, that is how many barriers had passed.

    A place is `grain` bytes. Stamps are 64 * epoch + warp: a shift tells whether epochs are equal.
    """

    def __init__(self, size: int, grain: int) -> None:
        self.grain = grain
        self._written = np.full(size // grain + 1, -64, np.int64)
        self._read = np.full(size // grain + 1, -64, np.int64)
        self._read_by_blocks = np.zeros(size // grain + 1, bool)

    def places(self, addresses: Array, size: int) -> Array:
        """[n, places] of n accesses."""
        return (addresses // self.grain)[:, None] + np.arange(max(1, size // self.grain))

    def meets_write(self, places: Array, epoch: Array, warp: Array) -> bool:
        """Whether another warp has written there since the last barrier."""
        return _is_other(self._written[places], epoch, warp)

    def meets_read(self, places: Array, epoch: Array, warp: Array) -> bool:
        """Whether another warp has read there since the last barrier."""
        return _is_other(self._read[places], epoch, warp)

    def is_of_another_block(self, places: Array, block: Array, writes: bool) -> bool:
        """Whether another block has written there or, before a write, read. Stamps have the block
        above 24 bits of epoch."""
        before = self._read[places]
        is_other = (before >= 0) & (before >> 30 != block[:, None])
        if not writes:
            self._read_by_blocks[places[is_other]] = True
        elif is_other.any() or self._read_by_blocks[places].any():
            return True
        written = self._written[places]
        return bool(((written >= 0) & (written >> 30 != block[:, None])).any())

    def write(self, places: Array, epoch: Array, warp: Array) -> None:
        """Note writes."""
        self._written[places] = (64 * epoch + warp)[:, None]

    def read(self, places: Array, epoch: Array, warp: Array) -> None:
        """Note reads."""
        before = self._read[places]
        stamps = np.broadcast_to((64 * epoch + warp)[:, None], places.shape)
        self._read[places] = stamps
        same_epoch = before >> 6 == epoch[:, None]
        several = (self._read[places] != stamps) | (same_epoch & (before & 63 != warp[:, None]))
        if several.any():
            self._read[places[several]] = (stamps | _MANY)[several]


def _is_other(stamps: Array, epoch: Array, warp: Array) -> bool:
    same_epoch = stamps >> 6 == epoch[:, None]
    return bool((same_epoch & (stamps & 63 != warp[:, None])).any())


class Shared:
    """The shared memory of all blocks.

    Args:
        blocks: that there are.
        size: of each one's memory in bytes.
        hazards: filled.
    """

    def __init__(self, blocks: int, size: int, hazards: list[Hazard]) -> None:
        self.size = -(-size // 16) * 16
        self._bytes = np.full(max(16, blocks * self.size), 0xFF, np.uint8)
        self._words = Tracker(self._bytes.size, 4)
        self._parts = Tracker(self._bytes.size, 1)  # what is smaller than a word
        self._has_parts = np.zeros(self._bytes.size // 4 + 1, bool)
        self._in_flight = np.zeros(self._bytes.size // 4 + 1, bool)
        self._reads = np.zeros(self._bytes.size // 4 + 1, np.int32)  # of products on their way
        self._unfenced = np.zeros(self._bytes.size // 4 + 1, bool)
        self._hazards = hazards

    def load(self, addresses: Array, size: int) -> Array:
        """Values of `size` bytes at checked addresses."""
        return self._bytes.view(_TYPES[size])[addresses // size]

    def store(self, addresses: Array, values: Array, size: int) -> None:
        self._bytes.view(_TYPES[size])[addresses // size] = values

    def rows(self, addresses: Array) -> Array:
        """[n,8] uint16 at addresses of 16 bytes."""
        return self._bytes.view(np.uint16).reshape(-1, 8)[addresses // 16]

    def store_rows(self, addresses: Array, rows: Array) -> None:
        self._bytes.view(np.uint16).reshape(-1, 8)[addresses // 16] = rows

    def locate(self, block: Array, addresses: Array, size: int, text: str) -> Array:
        """Checked addresses within the memory of all blocks."""
        bad = (addresses < 0) | (addresses + size > self.size) | (addresses % size != 0)
        if bad.any():
            raise HazardError(f"{text}: shared address {addresses[bad][0]} for {size} bytes")
        return block * self.size + addresses

    def check(
        self, places: Array, size: int, epoch: Array, warp: Array, writes: bool, text: str
    ) -> None:
        """Note accesses, and a hazard where they meet earlier ones."""
        words = self._words.places(places, max(4, size))
        if self._in_flight[words].any():
            self.tell(text, "touches what an asynchronous copy is on its way to")
        if writes:
            self._unfenced[words] = True
            if self._reads[words].any():
                self.tell(text, "overwrites what the tensor cores still read")
        parts = self._parts.places(places, size)
        noted, where = (self._words, words) if size >= 4 else (self._parts, parts)
        met = [(self._words, words)]
        if size < 4:
            self._has_parts[words] = True
        if self._has_parts[words].any():
            met.append((self._parts, parts))
        for tracker, met_where in met:
            if tracker.meets_write(met_where, epoch, warp):
                self.tell(text, "meets a write of another warp")
            if writes and tracker.meets_read(met_where, epoch, warp):
                self.tell(text, "overwrites what another warp reads")
        (noted.write if writes else noted.read)(where, epoch, warp)

    def fence(self, blocks: Array) -> None:
        """The tensor cores see what threads of these blocks have written."""
        self._unfenced[:-1].reshape(-1, self.size // 4)[blocks] = False

    def is_unfenced(self, places: Array) -> bool:
        """Whether something was written within 16 bytes of places since the last fence."""
        return bool(self._unfenced[self._words.places(places, 16)].any())

    def begin_reads(self, places: Array) -> None:
        """Products read 16 bytes each, some time from now on."""
        np.add.at(self._reads, self._words.places(places, 16), 1)

    def end_reads(self, places: Array) -> None:
        """They have."""
        np.add.at(self._reads, self._words.places(places, 16), -1)

    def depart(self, places: Array, size: int) -> None:
        """An asynchronous copy is on its way."""
        self._in_flight[self._words.places(places, size)] = True

    def arrive(self, places: Array, size: int, epoch: Array, data: Array) -> None:
        """It has arrived: [n,size] bytes. Others must not look before the next barrier."""
        words = self._words.places(places, size)
        self._in_flight[words] = False
        self._unfenced[words] = True
        self._bytes[places[:, None] + np.arange(size)] = data
        self._words.write(words, epoch, np.full_like(places, _COPY))

    def add(self, places: Array, values: Array, epoch: Array, text: str) -> Array:
        """Atomic additions; what was there before (of several to one place, before all)."""
        words = self._words.places(places, 4)
        atomic = np.full_like(places, _MANY)
        if self._words.meets_write(words, epoch, atomic):
            self.tell(text, "meets a write of another warp")
        if self._words.meets_read(words, epoch, atomic):
            self.tell(text, "overwrites what another warp reads")
        view = self._bytes.view(np.uint32)
        before = view[places // 4]
        np.add.at(view, places // 4, values)
        self._words.write(words, epoch, atomic)
        return before

    def tell(self, text: str, what: str) -> None:
        """Note a hazard."""
        if len(self._hazards) < 50:
            self._hazards.append(Hazard(text, f"shared memory: {what}"))


class Global:
    """The arrays that a kernel is given.

    Args:
        arrays: in the order of the kernel's arguments; the same one twice is one place.
        written: which of them it writes; the others it must not.
        hazards: filled.
    """

    def __init__(
        self, arrays: Sequence[Array], written: Sequence[bool], hazards: list[Hazard]
    ) -> None:
        places: dict[int, int] = {}
        size = _GUARD_BYTES
        for wanted in (False, True):  # What is written lies last, where accesses are tracked.
            if wanted:
                self._first_written = size
            for array in arrays:
                is_written = any(
                    flag and other is array for other, flag in zip(arrays, written, strict=True)
                )
                if is_written == wanted and id(array) not in places:
                    places[id(array)] = size
                    size += -(-max(1, array.nbytes) // 256) * 256 + _GUARD_BYTES
        self.arguments = [places[id(array)] for array in arrays]
        self._arrays = {id(array): array for array in arrays}
        self._places = places
        self._bytes = np.zeros(size, np.uint8)
        self._valid = np.zeros(size + 16, bool)
        for key, place in places.items():
            array = self._arrays[key]
            self._bytes[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
            self._valid[place : place + array.nbytes] = True
        self._tracker = Tracker(size, 2)
        self._hazards = hazards

    def give_back(self) -> None:
        """Write what the kernel has written into the arrays."""
        for key, place in self._places.items():
            if place >= self._first_written:
                array = self._arrays[key]
                array.reshape(-1).view(np.uint8)[:] = self._bytes[place : place + array.nbytes]

    def load(self, addresses: Array, size: int) -> Array:
        return self._bytes.view(_TYPES[size])[addresses // size]

    def store(self, addresses: Array, values: Array, size: int) -> None:
        self._bytes.view(_TYPES[size])[addresses // size] = values

    def copy(self, addresses: Array, size: int, given: Array) -> Array:
        """[n,size] bytes, of which `given` [n] are really read and the others zero."""
        columns = np.arange(size)
        is_read = columns < given[:, None]
        data: Array = self._bytes[np.where(is_read, addresses[:, None] + columns, 0)]
        data[~is_read] = 0
        return data

    def check(
        self,
        addresses: Array,
        size: int,
        aligned: int,
        who: tuple[Array, Array, Array],
        writes: bool,
        text: str,
    ) -> None:
        """That accesses are within an array, aligned, and meet no earlier ones.

        Args:
            who: block, epoch and warp of each.
        """
        inside = (addresses >= 0) & (addresses + size <= self._bytes.size)
        bad = ~inside | (addresses % aligned != 0)
        if not bad.any():
            bad = ~(self._valid[addresses] & self._valid[addresses + size - 1])
        if writes and not bad.any():
            bad = addresses < self._first_written
        if bad.any():
            raise HazardError(f"{text}: global address {addresses[bad][0]} for {size} bytes")
        tracked = addresses >= self._first_written
        if tracked.any():
            self._track(addresses[tracked], size, [each[tracked] for each in who], writes, text)

    def tell(self, text: str, what: str) -> None:
        """Note a hazard."""
        if len(self._hazards) < 50:
            self._hazards.append(Hazard(text, f"global memory: {what}"))

    def _track(
        self, addresses: Array, size: int, who: Sequence[Array], writes: bool, text: str
    ) -> None:
        block, epoch, warp = who
        # Barriers are a block's own, so the epochs of two blocks must never look equal ...
        own = (block << 24) | epoch
        places = self._tracker.places(addresses, size)
        tracker = self._tracker
        if self._meets_block(places, block, writes):
            self.tell(text, f"{'writes' if writes else 'reads'} what another block accesses")
        if tracker.meets_write(places, own, warp):
            self.tell(text, "meets a write of another warp")
        if writes and tracker.meets_read(places, own, warp):
            self.tell(text, "overwrites what another warp reads")
        (tracker.write if writes else tracker.read)(places, own, warp)

    def _meets_block(self, places: Array, block: Array, writes: bool) -> bool:
        """... and what another block has done is never in order."""
        return self._tracker.is_of_another_block(places, block, writes)
