"""Reads the files of datasets, none of which is trusted: sizes first, then contents.

Every function raises a `DatasetError` that names the file, what is wrong and what would be right.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError, ImageError
from pag_ros.evaluation.compressed import read_color as decode_color
from pag_ros.evaluation.compressed import read_grey as decode_grey

MAX_PICTURE_BYTES = 1 << 27
MAX_TEXT_BYTES = 1 << 25
MAX_MAT_BYTES = 1 << 28
"""Largest MATLAB 5 file, and what it may unpack to."""

_Picture = TypeVar("_Picture", bound=NDArray[Any])

_MAT_HEADER_BYTES = 128
_MAT_COMPRESSED = 15


def read_color(path: Path) -> NDArray[np.uint8]:
    """A JPEG or PNG as [H,W,3] uint8 RGB; transparency is dropped."""
    # Not upright: a photograph's orientation tag would turn it away from its labels.
    return _decode(path, decode_color)


def read_gray8(path: Path) -> NDArray[np.uint8]:
    """A grey 8-bit picture, such as a map of label ids, as [H,W] uint8."""
    picture = _decode(path, decode_grey)
    if picture.dtype != np.uint8:
        raise DatasetError(f"{path}: grey of 16 bits; expected 8 bits")
    return np.asarray(picture, np.uint8)


def read_gray16(path: Path) -> NDArray[np.uint16]:
    """A grey 16-bit PNG, such as depth or disparity, as [H,W] uint16."""
    picture = _decode(path, decode_grey)
    if picture.dtype != np.uint16:
        raise DatasetError(f"{path}: grey of 8 bits; expected 16 bits")
    return np.asarray(picture, np.uint16)


def read_json(path: Path) -> Any:
    """The contents of a JSON file."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not a readable JSON file ({error})") from error


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """A text file in UTF-8 of at most `limit` bytes."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not a text file in UTF-8 ({error})") from error


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB 5 file, as `scipy.io.loadmat` gives them."""
    from scipy.io import loadmat, whosmat

    data = read_bytes(path, MAX_MAT_BYTES)
    unpacked = _mat_size(path, data)
    if unpacked > MAX_MAT_BYTES:
        raise DatasetError(f"{path}: unpacks to more than {MAX_MAT_BYTES >> 20} MiB; damaged?")
    try:
        shapes = {name: shape for name, shape, kind in whosmat(path) if kind != "sparse"}
        for name, shape in shapes.items():  # a cell array is made before its cells are read
            if math.prod(shape) > len(data) + unpacked:
                raise ValueError(f"{name!r} claims {'x'.join(map(str, shape))} elements")
        variables: dict[str, Any] = loadmat(path)
    except Exception as error:  # scipy has no common base for what damage makes it raise
        raise DatasetError(f"{path}: not a readable MATLAB 5 file ({error})") from error
    return variables


def read_bytes(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DatasetError(f"{path}: {size} bytes, more than the {limit} such a file may have")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); is it whole?") from error


def same_size(path: Path, *pictures: NDArray[Any] | None) -> None:
    """Check that the pictures of one frame are equally large; None is left out."""
    sizes = {p.shape[:2] for p in pictures if p is not None}
    if len(sizes) > 1:
        text = " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
        raise DatasetError(f"{path}: its pictures differ in size ({text}); expected one size")


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files in `folder` that match `pattern`, sorted."""
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if not found:
        raise DatasetError(f"{folder}: no {pattern} in it; see docs/datasets.md for the layout")
    return found


def _decode(path: Path, decode: Callable[[bytes], _Picture]) -> _Picture:
    data = read_bytes(path, MAX_PICTURE_BYTES)
    try:
        picture = decode(data)
    except ImageError as error:
        raise DatasetError(f"{path}: not a whole JPEG or PNG ({error}); fetch it again") from error
    # Pillow's arrays are read-only, which torch warns about.
    writable: _Picture = np.require(picture, requirements=["WRITEABLE"])
    return writable


def _mat_size(path: Path, data: bytes) -> int:
    """Bytes that a MATLAB 5 file unpacks to, counted no further than over the limit."""
    if len(data) < _MAT_HEADER_BYTES or data[126:128] not in (b"IM", b"MI"):
        raise DatasetError(f"{path}: not a MATLAB 5 file")
    total = 0
    for kind, element in _mat_elements(data):
        total += _inflated_size(path, element, MAX_MAT_BYTES) if kind == _MAT_COMPRESSED else 0
        if total > MAX_MAT_BYTES:
            break
    return total


def _mat_elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = "<" if data[126:128] == b"IM" else ">"
    position = _MAT_HEADER_BYTES
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        yield kind, data[position + 8 : position + 8 + size]
        position += 8 + size


def _inflated_size(path: Path, data: bytes, limit: int) -> int:
    unpacker, total, rest = zlib.decompressobj(), 0, data
    try:
        while rest and total <= limit:
            total += len(unpacker.decompress(rest, 1 << 20))
            rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise DatasetError(f"{path}: damaged ({error}); fetch it again") from error
    return total
