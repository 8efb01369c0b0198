"""The user's folders for files of ours, by the rules of XDG: ~/.cache and ~/.local/state on Linux.

They need not exist. ROS's own folder (~/.ros) is not among them, see `pag_ros.ros.snapshot`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import platformdirs

from pag_ros.errors import ParameterError

_NAME = "pag_ros"


def cache_folder() -> Path:
    """For what can be made again: $XDG_CACHE_HOME/pag_ros, else ~/.cache/pag_ros.

    Raises:
        ParameterError: nobody knows the user's home.
    """
    return _found(platformdirs.user_cache_path, "XDG_CACHE_HOME")


def state_folder() -> Path:
    """For reports of what went wrong: $XDG_STATE_HOME/pag_ros, else ~/.local/state/pag_ros.

    Raises:
        ParameterError: nobody knows the user's home.
    """
    return _found(platformdirs.user_state_path, "XDG_STATE_HOME")


def distrust(path: Path) -> str | None:
    """Why a file of ours must not be used: somebody else may have written it; None if nobody can.

    Root may: so do images and packages that an administrator has installed.

    Raises:
        OSError: there is no such file.
    """
    for place, what in ((path, "the file"), (path.parent, "its folder")):
        status = place.stat()
        if status.st_uid not in (os.geteuid(), 0):
            return f"{what} belongs to another user"
        # A sticky folder, as /tmp is one, lets nobody replace another's file.
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"everybody may write {what}"
    return None


def _found(folder_of: Callable[[str], Path], variable: str) -> Path:
    try:
        folder = folder_of(_NAME)
    except RuntimeError:
        folder = Path("~")
    # What older platformdirs leave of a home that nobody knows; it would be made where we stand.
    if folder.parts[0] == "~":
        raise ParameterError(f"this user has no home folder; set HOME or {variable}")
    return folder
