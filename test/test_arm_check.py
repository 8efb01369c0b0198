"""tools/arm_check says in one line what it lacks; what it does is seen by `make test-arm`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "arm_check"


def run(checkout: Path) -> str:
    """What a copy of the tool says that finds nothing but the programs of the checkout."""
    tool = checkout / "tools" / "arm_check"
    tool.parent.mkdir()
    shutil.copy(TOOL, tool)
    environment = {"PATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, tool], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr


def put(checkout: Path, name: str, script: str) -> None:
    (checkout / name).write_text(f"#!/bin/sh\n{script}\n")
    (checkout / name).chmod(0o755)


@pytest.mark.parametrize(("has", "lacks"), [([], "apt-get"), (["apt-get"], "dpkg-deb")])
def test_a_machine_without_debians_tools_is_told_so(tmp_path, has, lacks):
    for name in has:
        put(tmp_path, name, "exit 0")
    expected = f"arm_check: error: this machine has no {lacks}: it takes Debian's packages\n"
    assert run(tmp_path) == expected


def test_what_cannot_be_fetched_is_named(tmp_path):
    put(tmp_path, "apt-get", "echo 'E: Unable to locate package qemu-user'; exit 100")
    put(tmp_path, "dpkg-deb", "exit 0")
    last = run(tmp_path).splitlines()[-2:]
    assert last[0].startswith("arm_check: error: fetching Debian's g++-aarch64-linux-gnu")
    assert last[1] == "E: Unable to locate package qemu-user"
