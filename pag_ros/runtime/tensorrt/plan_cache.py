"""Built plans on disk, in the user's cache: each with a note (JSON) of what it was made from.

A plan is used only if its note says that it was made for exactly this model, machine and software,
and if it has the checksum that the note says. Everything else is built anew, with a sentence that
says why; but a plan that turned out to be unfit leaves a note, and is not built again at every
start. One process builds, others that want the same plan wait for it; one that is killed leaves
nothing that would be taken for a plan.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any

from pag_ros.checks import shown
from pag_ros.errors import BackendError, one_line
from pag_ros.reading import read_limited, reading

FORMAT = 1
_MAX_NOTE_BYTES = 1 << 20
_MAX_PLAN_BYTES = 1 << 32
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
class PlanKey:
    """Everything that a plan depends on.

    Attributes:
        model: its name, for people and for the file's name.
        model_sha256: of the ONNX file.
        tensorrt: version.
        gpu: the GPU's name.
        capability: of the GPU, compute capability times ten.
        precision: "fp16".
        size: of the input, "320x240".
        kernels: kind of plugin and checksum of our kernels' code.
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
        """Without a suffix: the model's name and a checksum of all the rest."""
        text = json.dumps(asdict(self), sort_keys=True)
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in self.model)[:64]
        return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def difference(self, other: PlanKey) -> str:
        """What is another one in `other`, for people: "TensorRT 10.3.0, not 10.13.2"."""
        return ", ".join(
            f"{word} {_short(getattr(other, name))}, not {_short(getattr(self, name))}"
            for name, word in _WORDS.items()
            if getattr(other, name) != getattr(self, name)
        )


@dataclass(frozen=True)
class Plan:
    """A built plan.

    Attributes:
        content: what TensorRT reads.
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


class RejectedPlanError(BackendError):
    """A plan for this very key turned out to be unfit before."""


Build = Callable[[], tuple[bytes, dict[str, Any]]]
"""Makes a plan: its content and its summary."""


class PlanCache:
    """The plans of this user.

    Args:
        folder: where they lie; None is $XDG_CACHE_HOME/pag_ros/plans, else ~/.cache/...
        say: told in a sentence what is found and done.
    """

    def __init__(
        self, folder: Path | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder or default_folder()
        self._say = say or (lambda sentence: None)

    def find(self, key: PlanKey) -> Plan | None:
        """The stored plan for `key` if there is a sound one; builds and locks nothing."""
        plan = self._read(key)
        return None if isinstance(plan, str) else plan

    def obtain(self, key: PlanKey, build: Build, force: bool = False) -> Plan:
        """The plan for `key`: from the cache, else built and stored.

        Args:
            build: called only where there is no sound plan, by one process at a time.
            force: build even if there is a sound one.

        Raises:
            RejectedPlanError: there was one, which was rejected.
            BackendError: the folder cannot be written, found out before anything is built.
        """
        if not force:
            self._refuse_rejected(key)
        if not force and self._is_read_only() and (stored := self.find(key)):
            return stored  # of an image or package that somebody else has made
        with self._locked(key):
            if not force:
                self._refuse_rejected(key)  # by a process that this one has waited for
            found = self._read(key)
            if not isinstance(found, str) and not force:
                return found
            reason = found if isinstance(found, str) else "it was asked for"
            self._say(f"building a TensorRT plan of {key.model} for {key.gpu}: {reason}")
            content, summary = build()
            plan = Plan(content, summary, reason=reason)
            return self._store(key, plan)

    def confirm(self, key: PlanKey, plan: Plan) -> Plan:
        """Note that a plan's numbers are right, so that the next start need not check them."""
        checked = replace(plan, checked=True)
        if plan.path is not None and not self._is_read_only():
            try:
                self._write_note(key, checked)
            except OSError as error:
                self._say(f"{plan.path}: the check of its numbers cannot be noted ({error})")
        return checked

    def discard(self, key: PlanKey, why: str) -> None:
        """Forget a plan that turned out to be unfit, and say why."""
        self._say(f"the plan {self._path(key)} is discarded: {why}")
        for path in (self._note_path(key), self._path(key)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._say(f"{path} cannot be removed ({error}); remove it yourself")

    def reject(self, key: PlanKey, why: str) -> None:
        """Forget a plan that would be as unfit if it were built again, and remember that."""
        self.discard(key, why)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            note = {"format": FORMAT, "key": asdict(key), "rejected": why}
            _write_whole(self._rejection_path(key), json.dumps(note, indent=1).encode())
        except OSError as error:
            self._say(f"{self.folder}: that cannot be noted ({error.strerror or error})")

    def _refuse_rejected(self, key: PlanKey) -> None:
        path = self._rejection_path(key)
        if not path.exists():
            return
        try:
            with reading(path, "a sound note on a plan", BackendError):
                why = _rejection_from_json(json.loads(read_limited(path, _MAX_NOTE_BYTES)), key)
        except BackendError as error:
            self._say(f"{error}; the plan is tried again")
            return
        raise RejectedPlanError(
            f"{why} (found before, so it is not built again; `pag_ros build MODEL --force` tries "
            "it once more)"
        )

    def _rejection_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.file_name}.rejected"

    def _path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.file_name}.plan"

    def _note_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.file_name}.json"

    def _read(self, key: PlanKey) -> Plan | str:
        """The sound plan for `key`, else the reason why there is none."""
        path, note_path = self._path(key), self._note_path(key)
        if not note_path.exists() or not path.exists():
            half = path.exists() or note_path.exists()
            return "a build was interrupted" if half else self._why_none(key)
        try:
            note = _read_note(note_path)
        except BackendError as error:
            return f"the stored plan is damaged: {error}"
        if note.key != key:
            return f"{path} belongs to something else: {key.difference(note.key)}"
        try:
            with reading(path, "a plan", BackendError):
                content = _read_limited(path, _MAX_PLAN_BYTES)
        except BackendError as error:
            return str(error)
        if hashlib.sha256(content).hexdigest() != note.sha256:
            return f"{path} is damaged: it is not the file that was written"
        return Plan(content, note.summary, note.checked, path)

    def _why_none(self, key: PlanKey) -> str:
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

    def _store(self, key: PlanKey, plan: Plan) -> Plan:
        """Write a plan and then its note; what is too large for the disk is used all the same."""
        path = self._path(key)
        stored = replace(plan, path=path)
        try:
            # A note that stayed from before must never meet another plan.
            self._note_path(key).unlink(missing_ok=True)
            self._rejection_path(key).unlink(missing_ok=True)
            _write_whole(path, plan.content)
            self._write_note(key, stored)
        except OSError as error:
            self._say(
                f"{path}: the plan cannot be stored ({error.strerror or error}), so the next start "
                "builds it again; make room there, or set XDG_CACHE_HOME to another folder"
            )
            return plan
        return stored

    def _write_note(self, key: PlanKey, plan: Plan) -> None:
        note = {
            "format": FORMAT,
            "key": asdict(key),
            "sha256": hashlib.sha256(plan.content).hexdigest(),
            "checked": plan.checked,
            "summary": plan.summary,
        }
        _write_whole(self._note_path(key), json.dumps(note, indent=1).encode())

    def _is_read_only(self) -> bool:
        return self.folder.is_dir() and not os.access(self.folder, os.W_OK)

    @contextmanager
    def _locked(self, key: PlanKey) -> Iterator[None]:
        """Alone with the plan for `key`; the lock ends with the process that holds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / f"{key.file_name}.lock").open("wb")
        except OSError as error:
            raise BackendError(
                f"{self.folder}: plans cannot be stored there ({error.strerror or error}); "
                "set XDG_CACHE_HOME to a folder that can be written"
            ) from error
        with lock:
            self._take(lock, key)
            # We are alone, so what looks like half a file is one.
            for part in self.folder.glob(f".{key.file_name}.*.part"):
                part.unlink(missing_ok=True)
            yield

    def _take(self, lock: IO[bytes], key: PlanKey) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._say(f"another process is at the plan of {key.model}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)


def default_folder() -> Path:
    """Where plans lie unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pag_ros" / "plans"


@dataclass(frozen=True)
class _Note:
    key: PlanKey
    sha256: str
    checked: bool
    summary: dict[str, Any]


def _read_note(path: Path) -> _Note:
    """Raises BackendError unless it is a sound note."""
    with reading(path, "a sound note on a plan", BackendError):
        return _note_from_json(json.loads(read_limited(path, _MAX_NOTE_BYTES)))


def _rejection_from_json(data: Any, key: PlanKey) -> str:
    """Why the plan for a key was rejected."""
    if data["format"] != FORMAT or data["key"] != asdict(key):
        raise ValueError("it belongs to something else")
    if not isinstance(data["rejected"], str):
        raise ValueError("it has values of other types")
    return one_line(data["rejected"])


def _note_from_json(data: Any) -> _Note:
    if data["format"] != FORMAT:
        raise ValueError(f"format {shown(data['format'])}, this version reads {FORMAT}")
    given = data["key"]
    key = PlanKey(**{each.name: given[each.name] for each in fields(PlanKey)})
    types = {"capability": int, "multiprocessors": int}
    if any(type(value) is not types.get(name, str) for name, value in asdict(key).items()):
        raise ValueError("its key has values of other types")
    if not isinstance(data["summary"], dict) or not isinstance(data["sha256"], str):
        raise ValueError("it has values of other types")
    return _Note(key, data["sha256"], data["checked"] is True, data["summary"])


def _read_limited(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise ValueError(f"{size} bytes, at most {most_bytes}")
        return file.read(most_bytes)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, not even after a power cut."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.stem}.", suffix=".part", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    Path(file.name).replace(path)


def _short(value: object) -> str:
    text = str(value)
    is_checksum = len(text) >= 40 and " " not in text
    return f"{text[:12]}..." if is_checksum else text
