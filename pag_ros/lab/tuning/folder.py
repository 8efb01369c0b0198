"""The folder of a tuning: one process writes it, and it holds one tuning alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pag_ros import checks
from pag_ros.errors import PagError, ParameterError
from pag_ros.lab.datasets import Dataset
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.recordings.importing import forget
from pag_ros.lab.recordings.splitting import Side
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
NOTES = "tune.json"
DATA = "data"
"""The frames of the recordings, a folder a side."""
_MAX_STATE_BYTES = 1 << 20


def frames_of(out: Path, side: Side) -> Dataset:
    """The frames on one side."""
    return RoomPictures([out / DATA / side.value])


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder, and keep other processes from it.

    Raises:
        ParameterError: another process has it, or it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ParameterError(f"{out}: another process tunes into it; wait for it") from error
    except OSError as error:
        raise ParameterError(f"{out}: cannot be written to ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def remembered(out: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """See that the folder holds this very tuning, or is new; note which while frames are imported.

    Bad input is forgotten: another attempt may have other bags or options.

    Args:
        identity: what a run must have in common with the one it goes on from, as JSON values.

    Raises:
        ParameterError: it holds another tuning.
    """
    is_new = _remember(out, identity)
    try:
        yield
    except PagError:
        if is_new:
            forget(out / DATA)
            (out / NOTES).unlink()
        raise


def _remember(out: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the folder is new."""
    path = out / NOTES
    wanted = {"format": FORMAT, **identity}
    if not path.is_file():
        write_text(path, json.dumps(wanted, indent=1))
        return True
    with reading(path, "the notes of a tuning", ParameterError, "give another --out folder"):
        stored = checks.entries(json.loads(read_limited(path, _MAX_STATE_BYTES)), "notes")
        different = [key for key in wanted if stored.get(key) != wanted[key]]
    if different:
        raise ParameterError(
            f"{out}: holds a tuning with another {different[0]}; give another --out folder"
        )
    return False
