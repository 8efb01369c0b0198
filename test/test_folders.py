"""The user's folders are where XDG says, and never in the folder that a command is run from."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pag_ros.errors import ParameterError
from pag_ros.folders import cache_folder, distrust, state_folder

KINDS = [
    (cache_folder, "XDG_CACHE_HOME", ".cache"),
    (state_folder, "XDG_STATE_HOME", ".local/state"),
]


@pytest.mark.parametrize(("folder", "variable", "_usual"), KINDS)
def test_the_variable_of_xdg_decides(
    folder: Callable[[], Path],
    variable: str,
    _usual: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder() == tmp_path / "pag_ros"
    assert not folder().exists()


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(("folder", "variable", "usual"), KINDS)
def test_without_it_the_folder_is_in_the_users_home(
    folder: Callable[[], Path],
    variable: str,
    usual: str,
    empty: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if empty:
        monkeypatch.setenv(variable, "")
    else:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / usual / "pag_ros"


@pytest.mark.parametrize(("folder", "variable", "_usual"), KINDS)
def test_a_user_without_a_home_is_told_what_to_set(
    folder: Callable[[], Path],
    variable: str,
    _usual: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(number: int) -> Any:
        raise KeyError(number)

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ParameterError, match=f"no home folder; set HOME or {variable}"):
        folder()


def test_what_nobody_else_can_have_written_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o664)
    tmp_path.chmod(0o775)
    assert distrust(file) is None
    tmp_path.chmod(0o1777)
    assert distrust(file) is None


def test_what_somebody_else_may_have_written_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    tmp_path.chmod(0o777)
    assert distrust(file) == "everybody may write its folder"
    tmp_path.chmod(0o700)
    file.chmod(0o666)
    assert distrust(file) == "everybody may write the file"
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 12_345, -1)
    monkeypatch.setattr("os.geteuid", lambda: 54_321)
    assert distrust(file) == "the file belongs to another user"
    with pytest.raises(FileNotFoundError):
        distrust(tmp_path / "none")
