"""`pag_ros bench transport` counts what a camera process sends and what becomes of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.errors import NodeError

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from pag_ros.replay.second_listener import SecondListener


def test_small_pictures_arrive_and_are_answered(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "transport.json"
    command = ["bench", "transport", "--model", str(tiny_model), "--sizes", "64x48", "--fps", "10"]
    command += ["--seconds", "1", "--asked", "automatic", "reliable"]
    assert main([*command, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [(row["offered"], row["asked"]) for row in rows] == [
        ("reliable", "automatic"),
        ("reliable", "reliable"),
        ("best_effort", "automatic"),
    ]
    for row in rows:
        assert row["sent"] == 10
        assert 0 < row["answered"] <= row["received"] <= 10
    assert rows[0]["received"] == 10
    text = capsys.readouterr().out
    assert "| 64x48 | 10 | best effort | automatic | nobody | 10 |" in text


def test_others_are_answered_while_a_subscriber_stands_still(
    tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "transport.json"
    command = ["bench", "transport", "--model", str(tiny_model), "--sizes", "64x48", "--fps", "10"]
    command += ["--seconds", "1", "--asked", "automatic", "--stopped", "--json", str(file)]
    assert main(command) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["second"] for row in rows] == ["listens", "stands still"] * 2
    assert all(row["received"] > 0 and row["answered"] > 0 for row in rows)


def test_a_listener_is_stopped_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stands for it: rclpy's needs a node."""
    listener = SecondListener("/nobody", dict(os.environ), stands_still=True)
    listener._command = [
        sys.executable,
        "-c",
        "import time; print('connected', flush=True); time.sleep(60)",
    ]
    with listener:
        state = Path(f"/proc/{listener._process.pid}/status")
        wait_until(lambda: "T (stopped)" in state.read_text())
    assert listener._process.returncode == -signal.SIGKILL
    listener = SecondListener("/nobody", dict(os.environ), stands_still=False)
    listener._command = [
        sys.executable,
        "-c",
        "import time; print('connected', flush=True); time.sleep(60)",
    ]
    with listener:
        state = Path(f"/proc/{listener._process.pid}/status")
        wait_until(lambda: "S (sleeping)" in state.read_text())
    listener._command = [sys.executable, "-c", "print('no publisher')"]
    with pytest.raises(NodeError, match="was not connected"), listener:
        pass


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(("option", "value"), [("--fps", "0"), ("--seconds", "1e9")])
def test_what_cannot_be_measured_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "transport", option, value]) == 2
    assert f"{option}" in capsys.readouterr().err


def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "transport", "--sizes", "64"])
    assert "'64' is not WIDTHxHEIGHT" in capsys.readouterr().err
