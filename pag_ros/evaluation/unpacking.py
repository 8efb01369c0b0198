"""Bounds on what a compressed bag may unpack to, so that a small file cannot exhaust the memory.

rosbags unpacks whatever a bag holds, of whatever size. Here it is given functions that stop at a
limit, and what could not be stopped is measured before it begins.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pag_ros.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader

MAX_UNPACKED_BYTES = 256_000_000
"""Limit of a message or a chunk of them: an 8-bit colour picture of 8192 x 8192 has 201 MB."""

MAX_OVERLAPPING_BYTES = 2 * MAX_UNPACKED_BYTES
"""Limit of chunks whose times overlap: to be read in order, they are in memory together."""

MAX_FILE_BYTES = 1_000_000_000
MAX_FILE_RATIO = 200
"""A whole file may unpack to the larger one of `MAX_FILE_BYTES` and so many times its size:
pictures are rarely packed to less than a tenth, true depth to a hundredth."""

MAX_DISK_SHARE = 0.9
"""Share of the free space for temporary files that an unpacked bag may take."""

UNPACKING_ERRORS = (BagError, zstd.ZstdError, EOFError)
"""What unpacking a message raises: it is too large, or damaged."""

PIECE_BYTES = 8 << 20
ZSTD_HEADER_BYTES = 18
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC = (b"\x2a\x4d\x18", range(0x50, 0x60))


class Decompressor(Protocol):
    """What unpacks one frame of zstd or LZ4 piece by piece."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes | memoryview, max_length: int = ...) -> bytes: ...


def unpack_message(data: bytes) -> bytes:
    """A message that was packed by itself; raises `UNPACKING_ERRORS`."""
    return unpack_zstd(data, MAX_UNPACKED_BYTES)


def unpack_zstd(data: bytes, limit: int) -> bytes:
    """Unpack all frames of some zstd data.

    Raises:
        BagError: they unpack to more than `limit` bytes.
        zstd.ZstdError: the data is damaged.
    """
    pieces: list[bytes] = []
    left = limit
    for frame, size in _zstd_frames(memoryview(data)):
        if size is not None and size > left:
            raise _too_large(limit - left + size, limit)
        for piece in _pieces(zstd.ZstdDecompressor(), frame):
            left -= len(piece)
            if left < 0:
                raise _too_large(None, limit)
            pieces.append(piece)
    return b"".join(pieces)


def unpack_lz4(data: bytes, limit: int) -> bytes:
    """Unpack one LZ4 frame.

    Raises:
        BagError: it unpacks to more than `limit` bytes.
        RuntimeError: the data is damaged.
    """
    from lz4.frame import LZ4FrameDecompressor

    pieces: list[bytes] = []
    left = limit
    for piece in _pieces(LZ4FrameDecompressor(), data):
        left -= len(piece)
        if left < 0:
            raise _too_large(None, limit)
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def bounded() -> Iterator[None]:
    """While rosbags is at work within, no chunk and no database entry exceeds the limit."""
    import apsw
    from rosbags.rosbag2 import storage_mcap

    def limit_entries(connection: apsw.Connection) -> None:
        # A column may be computed: a small database can hold entries of any size.
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_UNPACKED_BYTES)

    table = storage_mcap.DECOMPRESSORS
    unbounded = dict(table)
    table.update(zstd=_chunk_of(unpack_zstd), lz4=_chunk_of(unpack_lz4))
    apsw.connection_hooks.append(limit_entries)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(limit_entries)
        table.update(unbounded)


def take_over_messages(reader: Reader) -> bool:
    """Have an open reader yield messages as they are packed; whether they are (by zstd)."""
    storage = reader.storage
    packed = bool(storage.metadata.compression_mode == "message")
    if packed:
        storage.metadata = storage.metadata._replace(compression_mode=None)
    return packed


def require_bounded_chunks(reader: Reader) -> None:
    """See that no packed chunk is too large, nor those that must be in memory together.

    Raises:
        BagError: one is, or some that overlap in time are.
    """
    storages = getattr(reader.storage, "storages", [reader.storage])
    for storage in storages:
        chunks = [c for c in getattr(storage, "chunks", []) if c.compression]
        largest = max((c.uncompressed_size for c in chunks), default=0)
        if largest > MAX_UNPACKED_BYTES:
            raise BagError(f"{storage.path}: {_too_large(largest, MAX_UNPACKED_BYTES)}")
        # At the same time, what begins comes before what ends.
        events = [(c.message_start_time, 0, c.uncompressed_size) for c in chunks]
        events += [(c.message_end_time, 1, -c.uncompressed_size) for c in chunks]
        together = 0
        for _, _, size in sorted(events):
            together += size
            if together > MAX_OVERLAPPING_BYTES:
                raise BagError(
                    f"{storage.path}: more than {_megabytes(MAX_OVERLAPPING_BYTES)} of packed "
                    "messages overlap in time; sort them, e.g. by `mcap sort`"
                )


def require_unpackable_files(folder: Path) -> None:
    """See that the packed files of a bag's folder, which rosbags unpacks to disk, are no trap.

    Raises:
        BagError: a file unpacks to far more than a bag does, or all to more than the disk can take.
    """
    total = 0
    for path in sorted(folder.iterdir()):
        if path.is_file() and _is_zstd(path):
            packed = path.stat().st_size
            limit = max(MAX_FILE_BYTES, MAX_FILE_RATIO * packed)
            size = _unpacked_file_bytes(path, limit)
            if size > limit:
                raise BagError(
                    f"{path}: {_megabytes(packed)} that unpack to more than {_megabytes(limit)}; "
                    "if that is right, unpack it yourself (`zstd -d`) and give the unpacked file"
                )
            total += size
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if total > MAX_DISK_SHARE * free:
        raise BagError(
            f"{folder}: unpacks to {_megabytes(total)}, but {tempfile.gettempdir()} has "
            f"{_megabytes(free)} left; set TMPDIR to a folder with more room"
        )


def _chunk_of(unpack: Callable[[bytes, int], bytes]) -> Callable[[bytes, int], bytes]:
    """A function to unpack a chunk: to the size it claims, if that is within the limit."""

    def unpack_chunk(data: bytes, size: int) -> bytes:
        if size > MAX_UNPACKED_BYTES:
            raise _too_large(size, MAX_UNPACKED_BYTES)
        return unpack(data, size)

    return unpack_chunk


def _zstd_frames(data: memoryview) -> Iterator[tuple[memoryview, int | None]]:
    """Each frame and the size it claims to unpack to, None if it claims none."""
    while data:
        size = zstd.get_frame_info(data[:ZSTD_HEADER_BYTES]).decompressed_size
        end = zstd.get_frame_size(data)
        yield data[:end], size
        data = data[end:]


def _pieces(decompressor: Decompressor, data: bytes | memoryview) -> Iterator[bytes]:
    """What some packed data unpacks to, in pieces of `PIECE_BYTES` at most."""
    yield decompressor.decompress(data, max_length=PIECE_BYTES)
    while not decompressor.eof:
        if decompressor.needs_input:
            raise BagError("packed data is cut off")
        yield decompressor.decompress(b"", max_length=PIECE_BYTES)


def _is_zstd(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(4)
    rest, first = SKIPPABLE_MAGIC
    return start == ZSTD_MAGIC or (start[1:] == rest and start[0] in first)


def _unpacked_file_bytes(path: Path, limit: int) -> int:
    """Size of a zstd file when unpacked, by unpacking it: what its header says may be a lie.

    Counting ends beyond `limit`, and at damage, which rosbags will meet and tell of.
    """
    total = 0
    try:
        with zstd.open(path, "rb") as file:
            while total <= limit and (piece := file.read(PIECE_BYTES)):
                total += len(piece)
    except (zstd.ZstdError, EOFError):
        pass
    return total


def _too_large(size: int | None, limit: int) -> BagError:
    what = "unpacks to" if size is None else f"unpacks to {_megabytes(size)},"
    return BagError(f"packed data {what} more than the {_megabytes(limit)} that it may have")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"
