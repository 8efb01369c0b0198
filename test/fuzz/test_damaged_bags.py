"""Bags with damage anywhere: what can be read is read, the rest is counted, or the bag refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from fuzzing import assert_refusals_are_ours
from mutations import damaged_yaml, mutate_bytes

pytest.importorskip("rosbags", reason="needs rosbags: pip install '.[eval]'")

from room_bags import Messages, write_room

from pag_ros.evaluation.bags import Bag

NO_LEAST = -1.0
"""Most damage spoils some messages only: those are counted, and the bag is read."""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_recordings(tmp_path: Path, storage: str) -> None:
    bag = write_room(Messages(), tmp_path / "room", storage)
    _damage_file(bag, next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3")), storage)


def test_compressed_recordings(tmp_path: Path) -> None:
    room = write_room(Messages(), tmp_path / "plain", "mcap")
    with Bag(room) as opened:
        content = [
            ("/camera/image", f.time_ns, Messages().image(f.image, "rgb8", f.stamp_ns))
            for f in opened.frames()
        ]
    content += [
        ("/camera/camera_info", t, Messages().camera_info(stamp_ns=t)) for _, t, _ in content
    ]
    bag = Messages().bag(tmp_path / "room", "mcap", content, compressed=True)
    _damage_file(bag, next(bag.glob("*.mcap*")), "mcap, zstd")


def test_metadata(tmp_path: Path) -> None:
    bag = write_room(Messages(), tmp_path / "room", "mcap")
    path = bag / "metadata.yaml"
    sound = yaml.safe_load(path.read_text())

    def damage(rng: random.Random) -> None:
        path.write_bytes(damaged_yaml(sound, rng))
        _read_all(bag)

    assert_refusals_are_ours("metadata of bags", damage, "room", 150, NO_LEAST)


def _damage_file(bag: Path, path: Path, kind: str) -> None:
    sound = path.read_bytes()

    def damage(rng: random.Random) -> None:
        path.write_bytes(mutate_bytes(sound, rng) if rng.random() < 0.3 else _flipped(sound, rng))
        _read_all(bag)

    assert_refusals_are_ours(f"bags ({kind})", damage, "room", 100, NO_LEAST)


def _flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bytes are others: what a bad disk or memory does, nothing is moved by it."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _read_all(path: Path) -> None:
    with Bag(path) as bag:
        frames = list(bag.frames())
        assert len(frames) + bag.images_left_out <= bag.matching.images
        assert all("\n" not in problem for problem in bag.problems)
