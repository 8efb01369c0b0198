"""The user's folders are where XDG says, and never in the folder that a command is run from."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pag_ros.errors import ParameterError
from pag_ros.folders import cache_folder, state_folder

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
