"""The rendered rooms that ship with the package, to rehearse and to see what was forgotten."""

from __future__ import annotations

import zipfile
from pathlib import Path

from pag_ros.errors import DatasetError
from pag_ros.reading import reading
from pag_ros.runtime.models import find_shipped
from pag_ros.writing import write_bytes

ARCHIVE = "rendered_rooms.zip"
REHEARSAL, FORGETTING = "rehearsal", "forgetting"
"""Folders in it, in the layout "rooms": pictures alone, taught by the start; with all truth."""

_MAX_BYTES = 16_000_000
_MAX_FILES = 2000


def unpack(out: Path) -> tuple[Path, Path]:
    """Unpack them into a folder, unless they are there; the folders of both.

    Raises:
        DatasetError: the archive is missing or damaged, or `out` cannot be written.
    """
    complete = out / "complete"
    if not complete.exists():
        archive = find_shipped(ARCHIVE)
        if archive is None:
            raise DatasetError(f"{ARCHIVE}: not found beside the shipped models; install them anew")
        with reading(archive, "an archive of rendered rooms", DatasetError):
            files = _read(archive, out)
        try:
            for target, content in files.items():
                write_bytes(target, content, make_folder=True)
            complete.touch()
        except OSError as error:
            raise DatasetError(f"{out}: cannot be written to ({error.strerror})") from error
    return out / REHEARSAL, out / FORGETTING


def _read(archive: Path, out: Path) -> dict[Path, bytes]:
    """The files in the archive, by where below `out` they belong."""
    files = {}
    with zipfile.ZipFile(archive) as file:
        entries = [entry for entry in file.infolist() if not entry.is_dir()]
        if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_BYTES:
            raise DatasetError(f"{archive}: larger than the rooms that ship")
        for entry in entries:
            target = (out / entry.filename).resolve()
            if not target.is_relative_to(out.resolve()):
                raise DatasetError(f"{archive}: an entry that leads out of it")
            files[target] = file.read(entry)
    return files
