"""Built engines on disk, in the user's cache: each with a note (JSON) of what it was made from.

An engine is used only if its note says that it was made for exactly this model, machine and
software, if it has the checksum that the note says, and if nobody but this user (or root) can have
written it, for TensorRT runs what is in it. Everything else is built anew, with a
sentence that says why; but an engine that turned out to be unfit leaves a note, and is not built
again at every start. One process builds, others that want the same engine wait for it; one that is
killed leaves nothing that would be taken for an engine.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pag_ros.checks import shown
from pag_ros.errors import BackendError, one_line
from pag_ros.folders import cache_folder, distrust
from pag_ros.reading import read_limited, reading
from pag_ros.writing import remove_leftovers, write_bytes, write_text

FORMAT = 1
MAX_WAIT_S = 3600.0
"""For another process that builds the same engine; the longest builds take some twenty minutes."""
_MAX_NOTE_BYTES = 1 << 20
_MAX_ENGINE_BYTES = 1 << 32
_WORDS = {
    "model_sha256": "model",
    "tensorrt": "TensorRT",
    "gpu": "GPU",
    "capability": "compute capability",
    "precision": "precision",
    "size": "input size",
    "kernels": "GPU kernels",
    "multiprocessors": "multiprocessors",
    "pag_ros": "pag_ros",
}


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        model: its name, for people and for the file's name.
        model_sha256: of the ONNX file.
        tensorrt: version.
        gpu: the GPU's name.
        capability: of the GPU, compute capability times ten.
        precision: "fp16".
        size: of the input, "320x240".
        kernels: kind of plugin and checksum of our kernels' code; of a transformer "standard" and
            the checksum of its graph in standard operators.
        multiprocessors: of the GPU; what suits a large Orin need not suit a small one.
        pag_ros: version of this package, which makes the graph.
    """

    model: str
    model_sha256: str
    tensorrt: str
    gpu: str
    capability: int
    precision: str
    size: str
    kernels: str
    multiprocessors: int
    pag_ros: str

    @property
    def file_name(self) -> str:
        """The model's name and a checksum of all the rest; without a suffix."""
        text = json.dumps(asdict(self), sort_keys=True)
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in self.model)[:64]
        return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def difference(self, other: EngineKey) -> str:
        """What differs in `other`, for people: "TensorRT 10.3.0, not 10.13.2"."""
        return ", ".join(
            f"{word} {_short(getattr(other, name))}, not {_short(getattr(self, name))}"
            for name, word in _WORDS.items()
            if getattr(other, name) != getattr(self, name)
        )


@dataclass(frozen=True)
class BuiltEngine:
    """An engine as it is stored; `engine.TensorRtEngine` is a loaded one.

    Attributes:
        content: the serialized engine, what TensorRT reads.
        summary: what its builder tells of it; JSON types only.
        checked: whether its numbers have been compared with the model's.
        path: where it lies, None if it could not be stored.
        reason: why it was built and not taken from the cache; empty if it was taken.
    """

    content: bytes
    summary: dict[str, Any] = field(default_factory=dict)
    checked: bool = False
    path: Path | None = None
    reason: str = ""


class RejectedEngineError(BackendError):
    """An engine for this very key turned out to be unfit before."""


Build = Callable[[], tuple[bytes, dict[str, Any]]]
"""Makes an engine: its content and its summary."""


class EngineCache:
    """The engines of this user.

    Args:
        folder: where they lie; None is $XDG_CACHE_HOME/pag_ros/engines, else ~/.cache/...
        say: told in a sentence what is found and done.
    """

    def __init__(
        self, folder: Path | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder or default_folder()
        self._say = say or (lambda sentence: None)

    def find(self, key: EngineKey) -> BuiltEngine | None:
        """The stored engine for `key` if there is a sound one; builds and locks nothing."""
        engine = self._read(key)
        return None if isinstance(engine, str) else engine

    def obtain(self, key: EngineKey, build: Build, force: bool = False) -> BuiltEngine:
        """The engine for `key`: from the cache, else built and stored.

        Args:
            build: called only where there is no sound engine, by one process at a time.
            force: build even if there is a sound one.

        Raises:
            RejectedEngineError: there was one, which was rejected.
            BackendError: the folder cannot be written, found out before anything is built.
        """
        if not force:
            self._refuse_rejected(key)
        if not force and self._is_read_only() and (stored := self.find(key)):
            return stored  # It came with an image or package that somebody else has made.
        with self._locked(key):
            if not force:
                # A process that this one has waited for may have rejected it.
                self._refuse_rejected(key)
            found = self._read(key)
            if not isinstance(found, str) and not force:
                return found
            reason = found if isinstance(found, str) else "it was asked for"
            self._say(f"building a TensorRT engine of {key.model} for {key.gpu}: {reason}")
            content, summary = build()
            engine = BuiltEngine(content, summary, reason=reason)
            return self._store(key, engine)

    def confirm(self, key: EngineKey, engine: BuiltEngine) -> BuiltEngine:
        """Note that an engine's numbers are right, so that the next start need not check them."""
        checked = replace(engine, checked=True)
        if engine.path is not None and not self._is_read_only():
            try:
                self._write_note(key, checked)
            except OSError as error:
                self._say(f"{engine.path}: the check of its numbers cannot be noted ({error})")
        return checked

    def discard(self, key: EngineKey, why: str) -> None:
        """Forget an engine that turned out to be unfit, and say why."""
        self._say(f"the engine {self._path(key)} is discarded: {why}")
        for path in (self._note_path(key), self._path(key)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._say(f"{path} cannot be removed ({error}); remove it yourself")

    def reject(self, key: EngineKey, why: str) -> None:
        """Forget an engine that would be as unfit if it were built again, and remember that."""
        self.discard(key, why)
        try:
            note = {"format": FORMAT, "key": asdict(key), "rejected": why}
            text = json.dumps(note, indent=1)
            write_text(self._rejection_path(key), text, make_folder=True)
        except OSError as error:
            self._say(f"{self.folder}: that cannot be noted ({error.strerror or error})")

    def _refuse_rejected(self, key: EngineKey) -> None:
        path = self._rejection_path(key)
        if not path.exists():
            return
        try:
            with reading(path, "a sound note on an engine", BackendError):
                why = _rejection_from_json(json.loads(read_limited(path, _MAX_NOTE_BYTES)), key)
        except BackendError as error:
            self._say(f"{error}; the engine is tried again")
            return
        raise RejectedEngineError(
            f"{why} (found before, so it is not built again; `pag_ros build MODEL --force` tries "
            "it once more)"
        )

    def _rejection_path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.file_name}.rejected"

    def _path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.file_name}.engine"

    def _note_path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.file_name}.json"

    def _read(self, key: EngineKey) -> BuiltEngine | str:
        """The sound engine for `key`, else the reason why there is none."""
        path, note_path = self._path(key), self._note_path(key)
        if not note_path.exists() or not path.exists():
            half = path.exists() or note_path.exists()
            return "a build was interrupted" if half else self._why_none(key)
        if why := distrust(path) or distrust(note_path):
            return f"{path} is not trusted: {why}"
        try:
            note = _read_note(note_path)
        except BackendError as error:
            return f"the stored engine is damaged: {error}"
        if note.key != key:
            return f"{path} belongs to something else: {key.difference(note.key)}"
        try:
            with reading(path, "an engine", BackendError):
                content = _read_limited(path, _MAX_ENGINE_BYTES)
        except BackendError as error:
            return str(error)
        if hashlib.sha256(content).hexdigest() != note.sha256:
            return f"{path} is damaged: it is not the file that was written"
        return BuiltEngine(content, note.summary, note.checked, path)

    def _why_none(self, key: EngineKey) -> str:
        """ "There is none", or what has changed since the last one of this model was built."""
        newest: tuple[float, str] | None = None
        for path in self.folder.glob("*.json"):
            try:
                note, when = _read_note(path), path.stat().st_mtime
            except (BackendError, OSError):
                continue
            if note.key.model == key.model and (newest is None or when > newest[0]):
                took = note.summary.get("build_seconds")
                hint = f"; that took {took:.0f} s" if isinstance(took, float) else ""
                newest = when, f"the one there is for {key.difference(note.key)}{hint}"
        return newest[1] if newest else "there is none yet"

    def _store(self, key: EngineKey, engine: BuiltEngine) -> BuiltEngine:
        """Write an engine, then its note; without room on the disk it is used all the same."""
        path = self._path(key)
        stored = replace(engine, path=path)
        try:
            # A note that stayed from before must never meet another engine.
            self._note_path(key).unlink(missing_ok=True)
            self._rejection_path(key).unlink(missing_ok=True)
            write_bytes(path, engine.content)
            self._write_note(key, stored)
        except OSError as error:
            self._say(
                f"{path}: the engine cannot be stored ({error.strerror or error}), so the next "
                "start builds it again; make room there, or set XDG_CACHE_HOME to another folder"
            )
            return engine
        return stored

    def _write_note(self, key: EngineKey, engine: BuiltEngine) -> None:
        note = {
            "format": FORMAT,
            "key": asdict(key),
            "sha256": hashlib.sha256(engine.content).hexdigest(),
            "checked": engine.checked,
            "summary": engine.summary,
        }
        write_text(self._note_path(key), json.dumps(note, indent=1))

    def _is_read_only(self) -> bool:
        return self.folder.is_dir() and not os.access(self.folder, os.W_OK)

    @contextmanager
    def _locked(self, key: EngineKey) -> Iterator[None]:
        """Keep others from the engine for `key`; the lock ends with the process that holds it."""
        lock = FileLock(self.folder / f"{key.file_name}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take(lock, key)
        except OSError as error:
            raise BackendError(
                f"{self.folder}: engines cannot be stored there ({error.strerror or error}); "
                "set XDG_CACHE_HOME to a folder that can be written"
            ) from error
        try:
            # We are alone, so what looks like half a file is one.
            for path in (self._path(key), self._note_path(key), self._rejection_path(key)):
                remove_leftovers(path, min_age_s=0.0)
            yield
        finally:
            lock.release()

    def _take(self, lock: FileLock, key: EngineKey) -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._say(f"another process is at the engine of {key.model}; waiting for it")
            self._wait(lock)

    def _wait(self, lock: FileLock) -> None:
        # Not for ever: older versions of filelock take a file system without locks for a busy one.
        try:
            lock.acquire(timeout=MAX_WAIT_S)
        except Timeout as error:
            raise BackendError(
                f"{lock.lock_file}: held by another process for {MAX_WAIT_S / 60:.0f} minutes; end "
                "that process, or, if there is none, the file system has no locks: set "
                "XDG_CACHE_HOME to a folder that has"
            ) from error


def default_folder() -> Path:
    """Where engines lie unless told otherwise."""
    return cache_folder() / "engines"


@dataclass(frozen=True)
class _Note:
    key: EngineKey
    sha256: str
    checked: bool
    summary: dict[str, Any]


def _read_note(path: Path) -> _Note:
    """Read a note; raises BackendError unless it is a sound one."""
    with reading(path, "a sound note on an engine", BackendError):
        return _note_from_json(json.loads(read_limited(path, _MAX_NOTE_BYTES)))


def _rejection_from_json(data: Any, key: EngineKey) -> str:
    """Why the engine for a key was rejected."""
    if data["format"] != FORMAT or data["key"] != asdict(key):
        raise ValueError("it belongs to something else")
    if not isinstance(data["rejected"], str):
        raise ValueError("it has values of other types")
    return one_line(data["rejected"])


def _note_from_json(data: Any) -> _Note:
    if data["format"] != FORMAT:
        raise ValueError(f"format {shown(data['format'])}, this version reads {FORMAT}")
    key = _key_from_json(data["key"])
    if not isinstance(data["summary"], dict) or not isinstance(data["sha256"], str):
        raise ValueError("it has values of other types")
    return _Note(key, data["sha256"], data["checked"] is True, data["summary"])


def _key_from_json(data: Any) -> EngineKey:
    def text(name: str) -> str:
        value = data[name]
        if not isinstance(value, str):
            raise ValueError("its key has values of other types")
        return value

    def whole(name: str) -> int:
        value = data[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("its key has values of other types")
        return value

    return EngineKey(
        model=text("model"),
        model_sha256=text("model_sha256"),
        tensorrt=text("tensorrt"),
        gpu=text("gpu"),
        capability=whole("capability"),
        precision=text("precision"),
        size=text("size"),
        kernels=text("kernels"),
        multiprocessors=whole("multiprocessors"),
        pag_ros=text("pag_ros"),
    )


def _read_limited(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise ValueError(f"{size} bytes, at most {max_bytes}")
        return file.read(max_bytes)


def _short(value: object) -> str:
    text = str(value)
    is_checksum = len(text) >= 40 and " " not in text
    return f"{text[:12]}..." if is_checksum else text
