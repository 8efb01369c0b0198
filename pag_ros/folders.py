"""The user's folders for files of ours, by the rules of XDG: ~/.cache and ~/.local/state on Linux.

They need not exist. ROS's own folder (~/.ros) is not among them, see `pag_ros.ros.snapshot`.
"""

from __future__ import annotations

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


def _found(folder_of: Callable[[str], Path], variable: str) -> Path:
    try:
        folder = folder_of(_NAME)
    except RuntimeError:
        folder = Path("~")
    # What older platformdirs leave of a home that nobody knows; it would be made where we stand.
    if folder.parts[0] == "~":
        raise ParameterError(f"this user has no home folder; set HOME or {variable}")
    return folder
