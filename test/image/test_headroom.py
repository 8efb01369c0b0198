"""Room around an array is found again for a whole one of ours, and for no other."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.image.headroom import ROOM, empty_with_room, memory_around


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (0, 4)])
def test_the_room_lies_before_and_behind_the_array(shape: tuple[int, ...], dtype: type) -> None:
    array = empty_with_room(shape, dtype)
    assert (array.shape, array.dtype, type(array)) == (shape, np.dtype(dtype), np.ndarray)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = 7
    memory = memory_around(array)
    assert memory is not None
    assert type(memory) is np.ndarray
    assert memory.size == ROOM + array.nbytes + ROOM
    assert memory[ROOM : ROOM + array.nbytes].tobytes() == array.tobytes()
    memory[:ROOM] = memory[ROOM + array.nbytes :] = 9
    assert (array == 7).all(), "the room is no part of it"


def test_parts_copies_and_other_arrays_have_none() -> None:
    array = empty_with_room((4, 6), np.float32)
    flat = empty_with_room((8,), np.uint8)
    others = [array[1:], array[:, :3], array.T, array[::-1], array.copy(), array + 1, flat[::-1]]
    others += [np.empty(2 * ROOM + 96, np.uint8)[ROOM:-ROOM], np.zeros(3)]
    assert [memory_around(other) for other in others] == [None] * len(others)


def test_a_part_of_the_memory_itself_has_none() -> None:
    array = empty_with_room((4, 6), np.float32)
    assert memory_around(array.base) is None
    assert memory_around(array.base[: array.nbytes]) is None
    assert memory_around(np.ndarray((4, 6), np.float32, array.base, ROOM)) is not None
    assert memory_around(np.ndarray((4, 5), np.float32, array.base, ROOM)) is None
    assert memory_around(np.ndarray((4, 6), np.float32, array.base, ROOM, (4, 16))) is None
