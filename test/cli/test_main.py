"""The command line as a whole: help, unknown commands, errors in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pag_ros import __version__
from pag_ros.cli import COMMANDS, main
from pag_ros.errors import ModelError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_options_and_an_entry(name: str) -> None:
    module = COMMANDS[name].load()
    assert module.__doc__
    assert callable(module.add_arguments)
    assert callable(module.main)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(SystemExit) as end:
        main(["fly"])
    assert end.value.code == 2


def test_an_expected_error_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise ModelError("model.onnx: no such file\n  at line 3")

    monkeypatch.setattr("pag_ros.cli.run.main", fail)
    assert main(["run", "picture.png", "--out", "out"]) == 2
    assert capsys.readouterr().err == "pag_ros: error: model.onnx: no such file at line 3\n"


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("pag_ros.cli.run.main", lambda _: tmp_path.write_text("a folder"))
    assert main(["run", "picture.png", "--out", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pag_ros: error: ")
    assert str(tmp_path) in line


@pytest.mark.parametrize("command", [["calibrate"], ["explain", "log"], ["bench", "deadline"]])
def test_a_plot_in_no_known_format_is_refused_before_the_work(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command, "--plot", "plot.xyz"])
    assert end.value.code == 2
    assert "'plot.xyz' must end in .png, .svg, .pdf" in capsys.readouterr().err


def test_commands_of_a_robot_do_not_import_torch() -> None:
    """`run`, `evaluate` and `calibrate` must work, and start fast, where torch is missing."""
    code = (
        "import sys, pag_ros.cli.run, pag_ros.cli.evaluate, pag_ros.cli.calibrate\n"
        "import pag_ros.runtime.openvino.session\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", [["build", "engine"], ["bench", "load"]])
def test_a_kind_for_robots_does_not_import_the_workbench(command: list[str]) -> None:
    code = (
        "import sys\nfrom pag_ros.cli import main\n"
        f"try: main({[*command, '--help']})\nexcept SystemExit as end: assert end.code == 0\n"
        "sys.exit(any(name.startswith('pag_ros.lab') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"pag_ros {' '.join(command)}" in done.stdout
