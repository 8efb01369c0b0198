"""A small bag that unpacks to gigabytes is refused before it has taken them."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from lz4.frame import compress as pack_lz4
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, storage_mcap

from pag_ros.errors import BagError
from pag_ros.evaluation import unpacking
from pag_ros.evaluation.bags import Bag
from pag_ros.evaluation.unpacking import unpack_lz4, unpack_zstd, zstd

MEGABYTE = 1_000_000
LIMIT = MEGABYTE

MEASURE = """
import sys
from pathlib import Path
from pag_ros.evaluation.bags import Bag
try:
    with Bag(Path(sys.argv[1])) as bag:
        list(bag.frames())
        print("; ".join(bag.problems))
except Exception as error:
    print(error)
# Not getrusage: its peak begins with that of the process which has started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def zeros(megabytes: int, tell_size: bool) -> bytes:
    """Packed zeros, with or without their number in the header."""
    packer = zstd.ZstdCompressor()
    if tell_size:
        packer.set_pledged_input_size(megabytes * MEGABYTE)
    piece = bytes(MEGABYTE)
    return b"".join([*(packer.compress(piece) for _ in range(megabytes)), packer.flush()])


@pytest.mark.parametrize("tell_size", [True, False])
def test_zstd_is_unpacked_up_to_the_limit(tell_size):
    packed = zeros(1, tell_size)
    assert unpack_zstd(packed, LIMIT) == bytes(MEGABYTE)
    with pytest.raises(BagError, match="more than the 999,999 bytes"):
        unpack_zstd(packed, LIMIT - 1)


def test_frames_of_zstd_count_together():
    skippable = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    packed = zstd.compress(b"a" * 60) + skippable + zstd.compress(b"b" * 60)
    assert unpack_zstd(packed, 120) == b"a" * 60 + b"b" * 60
    with pytest.raises(BagError):
        unpack_zstd(packed, 119)


def test_lz4_is_unpacked_up_to_the_limit():
    packed = pack_lz4(bytes(MEGABYTE))
    assert unpack_lz4(packed, LIMIT) == bytes(MEGABYTE)
    with pytest.raises(BagError):
        unpack_lz4(packed, LIMIT - 1)
    with pytest.raises(BagError, match="cut off"):
        unpack_lz4(packed[:-9], LIMIT)


def write(path: Path, messages, mode: CompressionMode) -> Path:
    """A camera's bag of three pictures, packed."""
    plugin = StoragePlugin.MCAP if mode is CompressionMode.STORAGE else StoragePlugin.SQLITE3
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        types = messages.types
        for i in range(3):
            image = messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8", i * 10**8)
            for topic, message in (("/image", image), ("/camera_info", messages.camera_info())):
                kind = message.__msgtype__
                connection = next((c for c in writer.connections if c.topic == topic), None)
                connection = connection or writer.add_connection(topic, kind, typestore=types)
                writer.write(connection, i * 10**8, types.serialize_cdr(message, kind))
    return path


def replace_second_image(path: Path, data: bytes) -> None:
    with sqlite3.connect(next(path.glob("*.db3"))) as database:
        rows = "SELECT m.id FROM messages m JOIN topics t ON m.topic_id = t.id WHERE t.name = ?"
        (_, second, _) = database.execute(rows, ("/image",)).fetchall()
        database.execute("UPDATE messages SET data = ? WHERE id = ?", (data, *second))
    database.close()


@pytest.mark.parametrize("tell_size", [True, False])
def test_a_message_that_unpacks_to_too_much_costs_one_image(
    messages, tmp_path, monkeypatch, tell_size
):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", LIMIT)
    path = write(tmp_path / "b", messages, CompressionMode.MESSAGE)
    replace_second_image(path, zeros(2, tell_size))
    with Bag(path) as bag:
        assert [frame.stamp_ns for frame in bag.frames()] == [0, 2 * 10**8]
        (refused, counted) = bag.problems
        assert refused.startswith("/image: packed data unpacks to")
        assert counted.startswith("/image: 2 messages could be read")


def test_a_chunk_that_is_too_large_is_refused(messages, tmp_path, monkeypatch):
    path = write(tmp_path / "b", messages, CompressionMode.STORAGE)
    with Bag(path) as bag:
        assert len(list(bag.frames())) == 3
    with Bag(path) as bag:
        # Too late for what the index claims: as if it had lied.
        monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1000)
        assert list(bag.frames()) == []
        assert any("more than the 1,000 bytes" in text for text in bag.problems)
    with pytest.raises(BagError, match="more than the 1,000 bytes"):
        Bag(path)


def test_a_bag_s_chunks_are_looked_at_when_it_is_opened(messages, tmp_path, monkeypatch):
    path = write(tmp_path / "b", messages, CompressionMode.STORAGE)
    monkeypatch.setattr(unpacking, "MAX_OVERLAPPING_BYTES", 1000)
    with pytest.raises(BagError, match="overlap in time"):
        Bag(path)


@pytest.mark.parametrize(("name", "pack"), [("zstd", zstd.compress), ("lz4", pack_lz4)])
def test_rosbags_unpacks_chunks_within_the_limit_only(monkeypatch, name, pack):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", LIMIT)
    packed = pack(bytes(MEGABYTE))
    before = dict(storage_mcap.DECOMPRESSORS)
    with unpacking.bounded():
        assert storage_mcap.decompress(packed, name, MEGABYTE, 0) == bytes(MEGABYTE)
        for claimed in (100, MEGABYTE - 1, 2 * MEGABYTE):
            with pytest.raises(BagError):
                storage_mcap.decompress(packed, name, claimed, 0)
        # A way to unpack that we do not know would have no bound.
        assert set(storage_mcap.DECOMPRESSORS) == {"", "lz4", "zstd"}
    assert before == storage_mcap.DECOMPRESSORS


def test_chunks_that_overlap_in_time_count_together():
    Chunk = namedtuple("Chunk", "message_start_time message_end_time uncompressed_size compression")
    half = unpacking.MAX_OVERLAPPING_BYTES // 2

    class Storage:
        path = "a.mcap"
        chunks = ()

    class Reader:
        storage = Storage()

    Storage.chunks = [Chunk(10 * i, 10 * i + 9, half, "zstd") for i in range(9)]
    unpacking.require_bounded_chunks(Reader)
    Storage.chunks = [Chunk(0, 9, half, "") for _ in range(9)]  # as large on the disk
    unpacking.require_bounded_chunks(Reader)
    Storage.chunks = [Chunk(i, 10 + i, half, "zstd") for i in range(3)]
    with pytest.raises(BagError, match="overlap in time"):
        unpacking.require_bounded_chunks(Reader)


def test_a_database_cannot_compute_what_it_does_not_hold(messages, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", LIMIT)
    grey = messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8")
    content = [("/image", 0, grey), ("/camera_info", 0, messages.camera_info())]
    path = messages.bag(tmp_path / "b", "sqlite3", content)
    with sqlite3.connect(next(path.glob("*.db3"))) as database:
        database.executescript(
            "CREATE TABLE huge(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            " timestamp INTEGER NOT NULL, data AS (zeroblob(2000000)));"
            "INSERT INTO huge(id, topic_id, timestamp) SELECT id, topic_id, timestamp FROM"
            " messages; DROP TABLE messages; ALTER TABLE huge RENAME TO messages;"
        )
    database.close()
    with pytest.raises(BagError, match="too big"):
        Bag(path)


def test_a_packed_file_that_unpacks_to_too_much_is_refused(messages, tmp_path, monkeypatch):
    path = write(tmp_path / "b", messages, CompressionMode.FILE)
    with Bag(path) as bag:
        assert len(list(bag.frames())) == 3
    monkeypatch.setattr(unpacking, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(unpacking, "MAX_FILE_RATIO", 2)
    with pytest.raises(BagError, match="unpack to more than"):
        Bag(path)


def test_a_packed_file_that_the_disk_cannot_take_is_refused(messages, tmp_path, monkeypatch):
    path = write(tmp_path / "b", messages, CompressionMode.FILE)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(BagError, match="set TMPDIR"):
        Bag(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("tell_size", [True, False])
def test_a_bomb_does_not_take_the_memory(messages, tmp_path, tell_size):
    path = write(tmp_path / "b", messages, CompressionMode.MESSAGE)
    replace_second_image(path, zeros(1500, tell_size))
    child = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    problem, peak_mb = child.stdout.splitlines()
    assert "more than the 256 MB" in problem
    assert int(peak_mb) < 600
