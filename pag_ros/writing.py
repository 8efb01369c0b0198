"""Writing files whole or not at all: who reads one finds the old content or the new, never half.

    with replacing(path) as file:
        np.savez_compressed(file, **arrays)

What is written goes to a temporary file beside `path`, .NAME.0123456789abcdef.part, which takes the
place of `path` once it is complete and on the disk. A link stays, and what it leads to is replaced.
A log that grows line by line is not written this way: it is read while it grows, and after a crash.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

LEFTOVER_AGE_S = 3600.0
"""A temporary file that nobody has written to for so long is that of a killed process."""

_MAX_SEARCHED = 4096
"""Entries of a folder that are searched for leftovers: writing into a large one stays quick."""


@contextmanager
def replacing(path: Path, make_folder: bool = False, tidy: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` at the end; after any error it is gone.

    Its mode is that of a new file, by the umask. A device, a pipe, and the file that standard
    output goes to (/dev/stdout) are written to as they are, since nothing can take their place.

    Args:
        make_folder: make the folder of `path`, and those above it, where they are missing.
        tidy: call `remove_leftovers` first. In a folder of thousands of files that takes longer
            than to write one: who fills it alone calls `empty_of_leftovers` once instead.

    Raises:
        OSError: it cannot be written; the error names `path`, not the temporary file.
    """
    part = None
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if _is_stream(path):
            with _opened_stream(path) as file:
                yield file
            return
        target = _target(path)
        if tidy:
            remove_leftovers(path)
        part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException as error:  # an interrupt as well
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_ours(error, path, part):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_bytes(path: Path, content: bytes, make_folder: bool = False, tidy: bool = True) -> None:
    """Write a file by `replacing`.

    Raises:
        OSError: see `replacing`.
    """
    with replacing(path, make_folder, tidy) as file:
        file.write(content)


def write_text(path: Path, text: str, make_folder: bool = False) -> None:
    """Write a file by `replacing`, in UTF-8.

    Raises:
        OSError: see `replacing`.
    """
    write_bytes(path, text.encode("utf-8"), make_folder)


def is_writable(path: Path) -> bool:
    """Whether `path` could be written now, its folder being there: asked before long work."""
    if _is_stream(path):
        return os.access(path, os.W_OK)
    return os.access(_target(path).parent, os.W_OK)


def remove_leftovers(path: Path, min_age_s: float = LEFTOVER_AGE_S) -> None:
    """Remove what killed processes have left of writing `path`; what cannot be removed stays.

    Args:
        min_age_s: since they were written to last. 0 is for one who holds a lock: without it,
            another process may be writing.
    """
    target = _target(path)
    _remove_parts(target.parent, re.escape(target.name), min_age_s, _MAX_SEARCHED)


def empty_of_leftovers(folder: Path) -> None:
    """Remove all that killed processes have left in a folder that nobody else writes into now."""
    _remove_parts(folder, ".+", 0.0, None)


def _remove_parts(folder: Path, names: str, min_age_s: float, searched: int | None) -> None:
    """Remove temporary files of targets whose name matches `names`; None: search all entries."""
    leftover = re.compile(rf"\.{names}\.[0-9a-f]{{16}}\.part")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, searched):
            if leftover.fullmatch(entry.name):
                with suppress(OSError):
                    # Of either sign: a robot's clock may have been set back.
                    if abs(time.time() - entry.stat().st_mtime) >= min_age_s:
                        Path(entry).unlink()


def _target(path: Path) -> Path:
    """What is replaced: `path`, or what it leads to."""
    return Path(os.path.realpath(path))


def _is_stream(path: Path) -> bool:
    """Whether `path` is there and is opened as it is; of a folder that is refused.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(found.st_mode) or _standard_stream(path) is not None


def _opened_stream(path: Path) -> BinaryIO:
    number = _standard_stream(path)
    if number is None:
        return path.open("wb")
    # Opened anew, a file would be written to from its beginning, over what has been printed.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return os.fdopen(os.dup(number), "wb")


def _standard_stream(path: Path) -> int | None:
    """The number of standard output or errors if they go to `path`."""
    found = path.stat()
    for number in (1, 2):
        with suppress(OSError):  # closed
            if os.path.samestat(found, os.fstat(number)):
                return number
    return None


def _is_ours(error: OSError, path: Path, part: Path | None) -> bool:
    """Whether an error comes from writing `path`: what its writer reads has other names."""
    if error.errno is None:
        return False
    return error.filename in {None, str(part), str(path), *map(str, path.parents)}
