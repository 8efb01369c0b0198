"""Whether a MATLAB 5 file is built as it says, looked at before scipy gets it.

scipy's reader trusts types and sizes: one that is wrong makes it read beyond its buffers, which
ends the process. Source of the format: "MAT-File Format", MathWorks.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_BYTES = 128
_TAG_BYTES = 8
_MAX_NESTING = 16
_MAX_ELEMENTS = 1_000_000
_MAX_DIMENSIONS = 32

# Types of elements.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBER_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Type of an element of numbers -> bytes of each."""
_TEXTS = (1, 2, 4, 16, 17, 18)

# Classes of matrices.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_COMPLEX = 0x800


@dataclass(frozen=True)
class _Element:
    type: int
    content: memoryview


class _Reader:
    """Elements one after the other in some bytes; all readers of a file share `left`.

    Attributes:
        order: of bytes, "<" or ">".
        left: how many elements the file may still have, in a list of one.
    """

    def __init__(self, content: memoryview, order: str, left: list[int]) -> None:
        self._content = content
        self._position = 0
        self.order = order
        self.left = left

    def within(self, content: memoryview) -> _Reader:
        return _Reader(content, self.order, self.left)

    def is_at_end(self) -> bool:
        return self._position >= len(self._content)

    def next(self, *types: int) -> _Element:
        """The next element; raises ValueError unless it is whole and of one of `types`."""
        self.left[0] -= 1
        if self.left[0] < 0:
            raise ValueError(f"it has more than {_MAX_ELEMENTS} elements")
        start = self._position
        if start + _TAG_BYTES > len(self._content):
            raise ValueError("it is cut short")
        first, size = struct.unpack_from(f"{self.order}II", self._content, start)
        if first >> 16:  # a small one, within the tag
            kind, size, begin = first & 0xFFFF, first >> 16, start + 4
            end = start + _TAG_BYTES
        else:
            kind, begin = first, start + _TAG_BYTES
            padding = 0 if kind == _COMPRESSED else -size % 8
            end = begin + size + padding
        if kind not in types or begin + size > min(end, len(self._content)):
            raise ValueError(f"an element of type {kind} and {size} bytes where none can be")
        self._position = end
        return _Element(kind, self._content[begin : begin + size])

    def whole_numbers(self, count: int | None = None) -> tuple[int, ...]:
        """An element of 32-bit whole numbers."""
        content = self.next(_INT32, _UINT32).content
        if len(content) % 4 or count not in (None, len(content) // 4):
            raise ValueError("a list of another length than there can be")
        return struct.unpack(f"{self.order}{len(content) // 4}i", content)


def check_mat(content: bytes, max_unpacked_bytes: int) -> None:
    """Check that all variables of a MATLAB 5 file are what its sizes and types say.

    Args:
        content: of the file.
        max_unpacked_bytes: what its compressed variables may unpack to, all together.

    Raises:
        ValueError: it is damaged, too large, or has variables other than numbers, texts, cells and
            structs.
    """
    if len(content) < _HEADER_BYTES or content[126:128] not in (b"IM", b"MI"):
        raise ValueError("it has not the header of one")
    order = "<" if content[126:128] == b"IM" else ">"
    reader = _Reader(memoryview(content)[_HEADER_BYTES:], order, [_MAX_ELEMENTS])
    room = max_unpacked_bytes
    while not reader.is_at_end():
        element = reader.next(_MATRIX, _COMPRESSED)
        if element.type == _COMPRESSED:
            unpacked = _unpacked(element.content, room)
            room -= len(unpacked)
            element = reader.within(unpacked).next(_MATRIX)
        _check_matrix(reader.within(element.content), 0)


def _unpacked(content: memoryview, room: int) -> memoryview:
    try:
        unpacked = zlib.decompressobj().decompress(content, room + 1)
    except zlib.error as error:
        raise ValueError(f"a variable is damaged ({error})") from error
    if len(unpacked) > room:
        raise ValueError("it unpacks to more than such a file may")
    return memoryview(unpacked)


def _check_matrix(reader: _Reader, nesting: int) -> None:
    if nesting > _MAX_NESTING:
        raise ValueError("nested too deeply")
    if reader.is_at_end():
        return  # how an empty one is written in a cell
    flags, _ = reader.whole_numbers(2)
    shape = reader.whole_numbers()
    if not 2 <= len(shape) <= _MAX_DIMENSIONS or min(shape) < 0:
        raise ValueError(f"a variable of shape {shape}")
    reader.next(_INT8)  # its name
    kind, count = flags & 0xFF, math.prod(shape)
    if kind in _NUMERIC:
        for _ in range(2 if flags & _COMPLEX else 1):
            _check_numbers(reader, shape)
    elif kind == _CHAR:
        if count > len(reader.next(*_TEXTS).content):
            raise _claims(shape)
    elif kind in (_CELL, _STRUCT):
        fields = 1 if kind == _CELL else _count_fields(reader)
        for part in _parts(reader, shape, fields):
            _check_matrix(reader.within(part.content), nesting + 1)
    else:
        raise ValueError(f"a variable of MATLAB's class {kind}, which no dataset needs")


def _check_numbers(reader: _Reader, shape: tuple[int, ...]) -> None:
    element = reader.next(*_NUMBER_BYTES)
    if len(element.content) != math.prod(shape) * _NUMBER_BYTES[element.type]:
        raise _claims(shape)


def _count_fields(reader: _Reader) -> int:
    (length,) = reader.whole_numbers(1)
    names = reader.next(_INT8).content
    if length < 1 or len(names) % length:
        raise ValueError("a struct whose fields have no names")
    return len(names) // length


def _parts(reader: _Reader, shape: tuple[int, ...], fields: int) -> Iterator[_Element]:
    """The matrices that a cell array or a struct array consists of."""
    count = math.prod(shape) * fields
    if count > reader.left[0]:
        raise _claims(shape)
    for _ in range(count):
        yield reader.next(_MATRIX)


def _claims(shape: tuple[int, ...]) -> ValueError:
    return ValueError(f"a variable claims {'x'.join(map(str, shape))} elements that it has not")
