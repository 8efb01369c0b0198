"""The node's process: how it starts, and that it ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from rclpy.executors import ExternalShutdownException
from ros_client import PATIENCE_S, SOURCE, next_domain

from pag_ros.ros import main

LOADS_FOR_EVER = """
import sys, time
import pag_ros.ros.node
from pag_ros.ros.main import main

def load(*arguments):
    print("loading", flush=True)
    time.sleep(600.0)

pag_ros.ros.node.open_perception = load
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("number", "build_only", "code"),
    [(signal.SIGINT, False, 0), (signal.SIGTERM, False, 0), (signal.SIGINT, True, 130)],
)
def test_a_signal_ends_it_while_a_model_is_loaded(
    number: signal.Signals, build_only: bool, code: int
) -> None:
    process = _start("-c", LOADS_FOR_EVER, "--ros-args", "-p", f"build_only:={build_only}")
    assert process.stdout is not None
    while "loading" not in (line := process.stdout.readline()):
        assert line, "it ended by itself"
    time.sleep(0.5)  # until the main thread waits for the loading one
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == code
    assert "Traceback" not in process.stdout.read()


@pytest.mark.parametrize(
    "arguments",
    [("--params-file", "/nonexistent.yaml"), ("-p", "cameras:=")],
)
def test_a_command_line_that_ros_cannot_read_is_told_in_words(arguments: tuple[str, str]) -> None:
    process = _start("-m", "pag_ros.ros.main", "--ros-args", *arguments)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "Traceback" not in said
    assert " ".join(arguments) in said.splitlines()[-1]  # before it rcl may say something itself


def _start(*arguments: str) -> subprocess.Popen[str]:
    domain = {"ROS_DOMAIN_ID": str(next_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(SOURCE),
        env={**os.environ, **domain},
        text=True,
    )


class FailingExecutor:
    """Raises what its list holds, one at each turn."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = iter(errors)

    def spin_once(self, timeout_sec: float) -> None:
        raise next(self._errors)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str, **_: object) -> None:
        self.lines.append(text)


def test_a_callback_that_fails_is_reported_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main, "ok", lambda: True)
    log = Log()
    executor = FailingExecutor(
        KeyError("stamp"), OverflowError("1e999"), ExternalShutdownException()
    )
    main._spin(executor, log)
    assert log.lines == [
        "a callback failed, the node goes on: KeyError: 'stamp'",
        "a callback failed, the node goes on: OverflowError: 1e999",
    ]


def test_ctrl_c_does_end_the_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "ok", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        main._spin(FailingExecutor(KeyboardInterrupt()), Log())
