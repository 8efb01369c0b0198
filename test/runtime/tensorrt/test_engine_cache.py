"""The cache of engines, and all the ways in which it may be found damaged.

The builder here is a fake that writes some bytes: nothing is said about what TensorRT makes, or
whether it would accept an engine that this cache calls sound.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_builders import KEY, build_slowly, hang_while
from filelock import FileLock

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt import engine_cache
from pag_ros.runtime.tensorrt.engine_cache import (
    BuiltEngine,
    EngineCache,
    RejectedEngineError,
    default_folder,
)


class Builder:
    """Counts its builds; each makes other bytes."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self) -> tuple[bytes, dict[str, Any]]:
        self.builds += 1
        return f"engine {self.builds}".encode() * 100, {"build_seconds": 94.0}


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, said: list[str]) -> EngineCache:
    return EngineCache(tmp_path / "engines", said.append)


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_an_engine_that_others_may_have_written_is_built_anew(
    cache: EngineCache, said: list[str], suffix: str
) -> None:
    builder = Builder()
    cache.obtain(KEY, builder)
    next(cache.folder.glob(f"*{suffix}")).chmod(0o666)
    assert cache.find(KEY) is None
    cache.obtain(KEY, builder)
    assert builder.builds == 2
    assert "is not trusted: everybody may write the file" in said[-1]
    assert cache.find(KEY) is not None


def test_an_engine_is_built_once_and_then_found(cache: EngineCache, said: list[str]) -> None:
    builder = Builder()
    first = cache.obtain(KEY, builder)
    second = cache.obtain(KEY, builder)
    assert builder.builds == 1
    assert first.content == second.content
    assert first.reason == "there is none yet"
    assert second.reason == ""
    assert second.path is not None
    assert second.summary == {"build_seconds": 94.0}
    assert said == ["building a TensorRT engine of tiny for NVIDIA Orin: there is none yet"]


def test_force_builds_anew(cache: EngineCache) -> None:
    builder = Builder()
    cache.obtain(KEY, builder)
    assert cache.obtain(KEY, builder, force=True).reason == "it was asked for"
    assert builder.builds == 2


def test_a_rejected_engine_is_not_built_again_unless_it_is_asked_for(
    cache: EngineCache, said: list[str]
) -> None:
    builder = Builder()
    engine = cache.obtain(KEY, builder)
    cache.reject(KEY, "it computes something else")
    assert engine.path is not None
    assert not engine.path.exists()
    assert cache.find(KEY) is None
    for _ in range(2):
        with pytest.raises(
            RejectedEngineError, match=r"^it computes something else \(found before"
        ):
            cache.obtain(KEY, builder)
    assert cache.obtain(replace(KEY, tensorrt="10.99"), builder).reason != ""
    assert cache.obtain(KEY, builder, force=True).reason != ""
    assert cache.obtain(KEY, builder).reason == ""  # so the note is gone
    assert builder.builds == 3


def test_who_waited_for_a_build_that_was_rejected_does_not_repeat_it(cache: EngineCache) -> None:
    builder, waits = Builder(), threading.Event()
    waiting = EngineCache(cache.folder, lambda sentence: waits.set())

    def refused() -> tuple[bytes, dict[str, Any]]:
        future.append(pool.submit(waiting.obtain, KEY, builder))
        assert waits.wait(30.0)  # It says that another process is at the engine.
        cache.reject(KEY, "TensorRT cannot build it")
        raise BackendError("TensorRT cannot build it")

    future: list[Future[BuiltEngine]] = []
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(BackendError):
            cache.obtain(KEY, refused)
        with pytest.raises(RejectedEngineError):
            future[0].result(30.0)
    assert builder.builds == 0


def test_nobody_waits_for_ever(
    cache: EngineCache, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pag_ros.runtime.tensorrt.engine_cache.MAX_WAIT_S", 0.1)
    lock = FileLock(cache.folder / f"{KEY.file_name}.lock")
    cache.folder.mkdir(parents=True, exist_ok=True)
    with lock, pytest.raises(BackendError, match="the file system has no locks"):
        cache.obtain(KEY, Builder())
    assert said == [f"another process is at the engine of {KEY.model}; waiting for it"]


@pytest.mark.parametrize(
    "change", [lambda note: b"{", lambda note: note.replace(b"fp16", b"fp32"), lambda note: b"[]"]
)
def test_a_damaged_note_on_a_rejected_engine_counts_for_nothing(
    cache: EngineCache, said: list[str], change: Any
) -> None:
    cache.reject(KEY, "it computes something else")
    (note,) = cache.folder.glob("*.rejected")
    note.write_bytes(change(note.read_bytes()))
    cache.obtain(KEY, Builder())
    assert any(each.endswith("the engine is tried again") for each in said)


def test_a_rejection_that_cannot_be_noted_is_told(
    cache: EngineCache, said: list[str], monkeypatch
) -> None:
    monkeypatch.setattr(engine_cache.os, "fsync", _no_room)
    cache.reject(KEY, "it computes something else")
    assert said[-1].endswith("that cannot be noted (No space left on device)")


def _no_room(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tensorrt": "10.3.0"}, "TensorRT 10.13.2, not 10.3.0"),
        ({"gpu": "NVIDIA Thor", "capability": 110}, "GPU NVIDIA Orin, not NVIDIA Thor"),
        ({"model_sha256": "ef" * 32}, "model abababababab..., not efefefefefef..."),
        ({"precision": "fp32"}, "precision fp16, not fp32"),
        ({"size": "320x240"}, "input size 64x48, not 320x240"),
        ({"kernels": "class 1 00"}, "GPU kernels aot 1 cdcdcdcdcdcdcdcd, not class 1 00"),
        ({"multiprocessors": 8}, "multiprocessors 16, not 8"),
        ({"pag_ros": "0.2.0"}, "pag_ros 0.1.0, not 0.2.0"),
    ],
)
def test_anything_else_in_the_key_builds_another_and_says_why(
    cache: EngineCache, change: dict[str, Any], sentence: str
) -> None:
    builder = Builder()
    cache.obtain(KEY, builder)
    reason = cache.obtain(replace(KEY, **change), builder).reason
    assert reason.startswith("the one there is for ")
    assert sentence in reason
    assert reason.endswith("that took 94 s")
    assert builder.builds == 2
    assert cache.obtain(KEY, builder).reason == ""  # the old one stays for the old setup


def _truncated(engine: Path, note: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-1])


def _flipped(engine: Path, note: Path) -> None:
    content = bytearray(engine.read_bytes())
    content[50] ^= 1
    engine.write_bytes(content)


def _emptied(engine: Path, note: Path) -> None:
    engine.write_bytes(b"")


def _is_folder(engine: Path, note: Path) -> None:
    engine.unlink()
    engine.mkdir()


def _note_truncated(engine: Path, note: Path) -> None:
    note.write_text(note.read_text()[:40])


def _note_binary(engine: Path, note: Path) -> None:
    note.write_bytes(bytes(range(256)))


def _note_nested(engine: Path, note: Path) -> None:
    note.write_text("[" * 100_000)


def _note_large(engine: Path, note: Path) -> None:
    note.write_text('"' + "x" * (1 << 21) + '"')


def _note_missing(engine: Path, note: Path) -> None:
    note.unlink()


def _engine_missing(engine: Path, note: Path) -> None:
    engine.unlink()


def _note_of_another_version(engine: Path, note: Path) -> None:
    note.write_text(note.read_text().replace('"format": 1', '"format": 2'))


def _note_with_other_types(engine: Path, note: Path) -> None:
    data = json.loads(note.read_text())
    data["key"]["capability"] = "87"
    note.write_text(json.dumps(data))


def _foreign(engine: Path, note: Path) -> None:
    data = json.loads(note.read_text())
    data["key"]["gpu"] = "NVIDIA H200"
    note.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncated, "is damaged: it is not the file that was written"),
        (_flipped, "is damaged: it is not the file that was written"),
        (_emptied, "is damaged"),
        (_note_truncated, "is damaged"),
        (_note_binary, "is damaged"),
        (_note_nested, "is damaged"),
        (_note_large, "is damaged"),
        (_note_missing, "a build was interrupted"),
        (_engine_missing, "a build was interrupted"),
        (_note_of_another_version, "format 2, this version reads 1"),
        (_note_with_other_types, "is damaged"),
        (_foreign, "belongs to something else: GPU NVIDIA H200, not NVIDIA Orin"),
    ],
)
def test_what_is_not_sound_is_built_anew(
    cache: EngineCache, said: list[str], damage: Any, reason: str
) -> None:
    builder = Builder()
    stored = cache.obtain(KEY, builder)
    assert stored.path is not None
    damage(stored.path, stored.path.with_suffix(".json"))
    assert cache.find(KEY) is None
    again = cache.obtain(KEY, builder)
    assert builder.builds == 2
    assert reason in again.reason
    assert reason in said[-1]
    assert cache.obtain(KEY, builder).content == again.content
    assert builder.builds == 2


def test_a_folder_in_the_plans_place_does_not_stop_the_robot(
    cache: EngineCache, said: list[str]
) -> None:
    stored = cache.obtain(KEY, Builder())
    assert stored.path is not None
    _is_folder(stored.path, stored.path)
    again = cache.obtain(KEY, Builder())
    assert again.content
    assert again.path is None
    assert "cannot be stored" in said[-1]


def test_processes_that_want_the_same_engine_build_one(tmp_path: Path) -> None:
    log = tmp_path / "builds"
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "engines", log)
    processes = [context.Process(target=build_slowly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    (builder,) = log.read_text().split()
    results = log.with_suffix(".results").read_text().split()
    assert results == [builder] * 3


@pytest.mark.parametrize("phase", ["building", "writing", "noting"])
def test_a_killed_build_leaves_nothing_behind_that_is_believed(tmp_path: Path, phase: str) -> None:
    folder, ready = tmp_path / "engines", tmp_path / "ready"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=hang_while, args=(phase, folder, ready))
    process.start()
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    cache, builder = EngineCache(folder), Builder()
    assert cache.find(KEY) is None
    engine = cache.obtain(KEY, builder)
    assert builder.builds == 1
    assert engine.path is not None
    assert sorted(path.suffix for path in folder.iterdir()) == [".engine", ".json", ".lock"]


def test_a_build_that_fails_leaves_the_lock_and_nothing_else(cache: EngineCache) -> None:
    def fail() -> tuple[bytes, dict[str, Any]]:
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cache.obtain(KEY, fail)
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
    assert cache.obtain(KEY, Builder()).content


def test_an_unwritable_cache_is_told_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    builder = Builder()
    with pytest.raises(BackendError, match=r"cannot be stored there .*set XDG_CACHE_HOME"):
        EngineCache(tmp_path / "file" / "engines").obtain(KEY, builder)
    assert builder.builds == 0


def test_an_engine_in_a_read_only_cache_is_used(cache: EngineCache, monkeypatch) -> None:
    stored = cache.obtain(KEY, Builder())
    monkeypatch.setattr(engine_cache.os, "access", lambda path, mode: False)
    monkeypatch.setattr(cache, "_locked", None)
    found = cache.obtain(KEY, Builder())
    assert found.content == stored.content
    assert cache.confirm(KEY, found).checked


def test_a_full_disk_costs_the_engine_of_the_next_start_only(
    cache: EngineCache, said: list[str], monkeypatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(engine_cache.os, "fsync", full)
    engine = cache.obtain(KEY, Builder())
    assert engine.path is None
    assert engine.content
    assert "No space left on device" in said[-1]
    assert "the next start builds it again" in said[-1]
    assert [path.suffix for path in cache.folder.iterdir()] == [".lock"]
    monkeypatch.undo()
    assert cache.obtain(KEY, Builder()).path is not None


def test_that_an_engine_was_checked_is_remembered(cache: EngineCache) -> None:
    engine = cache.obtain(KEY, Builder())
    assert not engine.checked
    assert cache.confirm(KEY, engine).checked
    found = cache.find(KEY)
    assert found is not None
    assert found.checked


def test_a_discarded_engine_is_gone(cache: EngineCache, said: list[str]) -> None:
    builder = Builder()
    cache.obtain(KEY, builder)
    cache.discard(KEY, "TensorRT refuses it")
    assert said[-1].endswith("is discarded: TensorRT refuses it")
    assert cache.find(KEY) is None
    cache.obtain(KEY, builder)
    assert builder.builds == 2


def test_plans_lie_in_the_users_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "pag_ros" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "pag_ros" / "engines"


def test_a_models_name_makes_no_path(cache: EngineCache) -> None:
    engine = cache.obtain(replace(KEY, model="../../etc/passwd"), Builder())
    assert isinstance(engine, BuiltEngine)
    assert engine.path is not None
    assert engine.path.parent == cache.folder
