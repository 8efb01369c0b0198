"""Whatever ends a command, its user reads one line and gets an exit code that tells why."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pag_ros.cli import guard
from pag_ros.cli.guard import EXTRAS, guarded
from pag_ros.errors import DatasetError, ModelError

MISSING_TORCH = {
    "tune": ["tune", "a.bag", "--out", "out"],
    "train": ["train", "--config", "c", "--data", "d", "--validation", "v", "--out", "out"],
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where tracebacks go."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "pag_ros"


def failing(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def recursion() -> int:
    return recursion()


def run_python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A command that is this Python code, under the guard, in a process of its own."""
    program = (
        "import sys\nfrom pag_ros.cli.guard import guarded\n"
        f"def command():\n{textwrap.indent(code, '    ')}\n    return 0\n"
        "sys.exit(guarded(command))"
    )
    # Buffered, as output to a pipe or a file usually is.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    usual = {"stderr": subprocess.PIPE, "text": True, "timeout": 60, "check": False}
    return subprocess.run([sys.executable, "-c", program], env=environment, **{**usual, **options})


class PanicOfALibrary(BaseException):
    """What extensions in other languages raise: no `Exception`."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\nb"),
        KeyError("name"),
        MemoryError(),
        UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates"),
        OverflowError("int too large"),
        ImportError("libtbb.so.12: cannot open"),
        PanicOfALibrary("index out of bounds"),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unexpected_error_is_one_line_that_names_its_traceback(
    error: BaseException, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(failing(error)) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pag_ros: error: unexpected {type(error).__name__}")
    (file,) = state.iterdir()
    assert line.endswith(f"its traceback in {file}")
    text = file.read_text()
    assert "Traceback (most recent call last)" in text
    assert "in command" in text


def test_endless_recursion_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(recursion) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pag_ros: error: unexpected RecursionError")


def test_a_traceback_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/dev/null")
    assert guarded(failing(ValueError("x"))) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected ValueError: x; its traceback could not be written" in line


def test_without_a_home_the_traceback_goes_to_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    for variable in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert guarded(failing(ValueError("x"))) == 70
    (file,) = tmp_path.glob("traceback-*.txt")
    assert capsys.readouterr().err.endswith(f"its traceback in {file}\n")


def test_only_the_last_tracebacks_are_kept(state: Path) -> None:
    for _ in range(guard.MAX_TRACEBACKS + 3):
        guarded(failing(ValueError("x")))
    assert len(list(state.iterdir())) == guard.MAX_TRACEBACKS


@pytest.mark.parametrize("kind", [ModelError, OSError, ValueError])
def test_names_from_files_cannot_command_the_terminal(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    guarded(failing(kind("model \x1b]0;title\x07\x1b[31m \u202e\ud83d \x9b2J")))
    error = capsys.readouterr().err
    assert error.endswith("\n")
    assert error[:-1].isprintable()
    assert r"\x1b]0;title\x07\x1b[31m \u202e\ud83d \x9b2J" in error


def test_a_long_text_keeps_the_file_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(DatasetError(f"frames.jsonl: {'x' * 100_000} is no number"))) == 2
    error = capsys.readouterr().err
    assert len(error) < 1100
    assert "frames.jsonl" in error
    assert error.endswith("is no number\n")


def test_of_a_workers_error_only_its_own_words_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (
        "Caught DatasetError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "worker.py", line 349, in _worker_loop\n'
        "pag_ros.errors.DatasetError: a.png: not a whole PNG\n"
    )
    assert guarded(failing(DatasetError(text))) == 2
    assert capsys.readouterr().err == "pag_ros: error: a.png: not a whole PNG\n"


def test_a_thread_that_fails_is_one_line_and_no_success(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = threading.excepthook

    def command() -> int:
        thread = threading.Thread(target=failing(ValueError("in a thread")))
        thread.start()
        thread.join()
        return 0

    assert guarded(command) == 70
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected ValueError: in a thread" in line
    assert threading.excepthook is before


@pytest.mark.parametrize("lines", [1, 100_000])
def test_the_reader_of_a_pipe_may_leave(lines: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run_python(f"for n in range({lines}): print(n)", stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_help_that_nobody_reads_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from pag_ros.cli import main\nmain(['--help'])"
    ended = run_python(code, stdout=writer)
    os.close(writer)
    assert ended.stderr == ""


def test_another_broken_pipe_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(BrokenPipeError(32, "Broken pipe"))) == 2
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("characters", [1, 100_000])
def test_a_full_disk_is_one_line(characters: int) -> None:
    with Path("/dev/full").open("w") as full:
        ended = run_python(f"print('x' * {characters})", stdout=full)
    assert ended.returncode == 2
    assert ended.stderr == "pag_ros: error: No space left on device\n"


def test_an_error_of_a_file_is_its_name_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(OSError(28, "No space left on device", "out/report.json"))) == 2
    said = capsys.readouterr().err
    assert said == "pag_ros: error: out/report.json: No space left on device\n"


@pytest.mark.parametrize("command", ["tune", "train"])
def test_a_package_that_is_missing_is_one_line_that_says_how_to_get_it(command: str) -> None:
    ended = run_python(
        "import sys\nsys.modules['torch'] = None\nfrom pag_ros.cli import main\n"
        f"arguments = {MISSING_TORCH[command]!r}\nsys.exit(main(arguments))"
    )
    assert ended.returncode == 2
    assert ended.stderr == "pag_ros: error: this needs torch: pip install 'pag_ros[train]'\n"


def test_every_optional_package_has_its_extra() -> None:
    text = (Path(__file__).parents[2] / "setup.py").read_text()
    extras = ast.literal_eval(text[text.index("EXTRAS = ") + 9 : text.index("\n}\n") + 2])
    always = {"pillow", "numpy"}
    for extra in ("cpu", "gpu", "eval", "bench", "train", "cluster"):
        for requirement in extras[extra]:
            package = re.split(r"[><=.;]", requirement)[0]
            if package not in always:
                assert package in EXTRAS
    for package, extra in EXTRAS.items():
        names = {re.split(r"[><=.;]", each)[0].removeprefix("ros-jazzy-") for each in extras[extra]}
        assert package in names, package


def test_an_error_that_nobody_can_read_keeps_its_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        assert run_python("raise ValueError", stdout=full, stderr=full).returncode == 70


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        # What libraries make of an interrupt within their own code:
        "raise ImportError('initialization failed')",
        "raise RuntimeError('Exception from src/core: KeyboardInterrupt')",
    ],
)
def test_an_interrupt_is_quiet_whatever_a_library_makes_of_it(code: str) -> None:
    interrupt = (
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"except KeyboardInterrupt:\n    {code}\n    raise"
    )
    ended = run_python(interrupt)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_the_interrupts_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert guarded(lambda: 3) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_interrupt_stays_ignored() -> None:
    """As in a job that nohup or a script's & has started."""
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)"
    ignored = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        ended = run_python(code)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.returncode == 0
    assert run_python(ignored).returncode == 0
