"""Arrays with room before and behind them, as packet buffers have.

A message on the wire is an array between its other fields. With headroom and tailroom these are
written where the array lies; without, the array, which is nearly all of it, has to be copied.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

ROOM = 4096
"""Bytes before the array, and behind it."""

_Value = TypeVar("_Value", bound=np.generic)


class _Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """Marks what was allocated here, so that nobody else's memory is written to."""


def empty_with_room(shape: tuple[int, ...], dtype: type[_Value]) -> NDArray[_Value]:
    """An array of any content, as `np.empty` gives it, with room around it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = _Memory(ROOM + size + ROOM, np.uint8)
    array: NDArray[_Value] = np.ndarray(shape, dtype, memory, ROOM)
    return array


def memory_around(array: NDArray[np.generic]) -> NDArray[np.uint8] | None:
    """The bytes of a whole array of `empty_with_room`, `ROOM` before and behind it included.

    None for any other array, and for a part of such a one.
    """
    memory = array.base
    if not isinstance(memory, _Memory) or not array.flags.c_contiguous:
        return None
    is_whole = ROOM + array.nbytes + ROOM == memory.size
    if not is_whole or array.ctypes.data != memory.ctypes.data + ROOM:
        return None
    return memory.view(np.ndarray)
