"""The last guard of the command line: whatever ends a command, its user reads one line.

Errors of `pag_ros.errors` and of the operating system say themselves what was wrong. Everything
else is a fault of this package: its traceback goes to a file for whoever mends it, and the line
names that file.

What only reports need is imported by them: Ctrl-C must find the guard in place as early as can be.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pag_ros import __version__
from pag_ros.errors import PagError, one_line

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import TextIO

REFUSED = 2
UNEXPECTED = 70
"""EX_SOFTWARE of sysexits.h."""
INTERRUPTED = 128 + signal.SIGINT
READER_GONE = 128 + signal.SIGPIPE
"""As a program ends that does not ignore the signal: `pag_ros ... | head` is no error."""

MAX_TRACEBACKS = 10
"""Older files are removed, lest a program that fails again and again fill the disk."""

EXTRAS = {
    "openvino": "cpu",
    "tensorrt": "gpu",
    "pycuda": "gpu",
    "triton": "gpu",
    "rosbags": "eval",
    "backports": "eval",
    "lz4": "eval",
    "matplotlib": "eval",
    "jinja2": "eval",
    "h5py": "eval",
    "scipy": "eval",
    "rclpy": "ros",
    "onnxruntime": "bench",
    "nncf": "bench",
    "torch": "train",
    "safetensors": "train",
    "onnx": "train",
    "onnxscript": "train",
    "embreex": "train",
    "distributed": "cluster",
}
"""Package that a command may lack -> the extra that brings it."""

_MAX_TRACEBACK_CHARS = 1 << 20
_MAX_REASON_CHARS = 300


class _Seen:
    """What happened beside the command's own course."""

    def __init__(self) -> None:
        self.interrupt = False
        self.thread_failed = False


def guarded(command: Callable[[], int]) -> int:
    """Run a command; returns its exit code, or that of the error that ended it.

    2 for an error the user can mend, 70 for an unexpected one, 130 for Ctrl-C, 141 where nobody
    reads the output any more. Only `SystemExit`, by which argparse ends, passes.
    """
    with _watched() as seen:
        try:
            code = command()
            _flush()
        except SystemExit as end:
            code = _finish(end)
        except BaseException as error:  # some libraries raise panics that are no Exception
            code = INTERRUPTED if seen.interrupt else _report(error)
    _drop_unwritable()
    return UNEXPECTED if seen.thread_failed and code == 0 else code


def _finish(end: SystemExit) -> int:
    """Let argparse end the process, unless what it wrote could not be written."""
    try:
        _flush()
    except OSError as error:
        return _report(error)
    raise end


def _report(error: BaseException) -> int:
    """Say in one line what ended the command; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError) and _is_reader_gone():
        return READER_GONE
    if isinstance(error, PagError | OSError):
        _say(_last_words(error))
        return REFUSED
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            _say(f"this needs {package}: pip install 'pag_ros[{EXTRAS[package]}]'")
            return REFUSED
    _say(_unexpected(error))
    return UNEXPECTED


def _unexpected(error: BaseException) -> str:
    reason = one_line(_last_words(error), _MAX_REASON_CHARS)
    said = f"unexpected {type(error).__name__}" + (f": {reason}" if reason else "")
    try:
        return f"{said}; please report it, with its traceback in {_write_traceback(error)}"
    except Exception as failure:  # a full disk, no memory: the line must come all the same
        return f"{said}; its traceback could not be written ({_last_words(failure)})"


def _last_words(error: BaseException) -> str:
    """The text of an error; of one from a worker process, without the traceback around it."""
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 28]", which helps nobody
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    try:
        text = str(error)
    except Exception:  # an error whose text fails as well
        return ""
    if "Traceback (most recent call last)" not in text:
        return text
    import re

    last = [line for line in text.splitlines() if line.strip()][-1]
    return re.sub(r"^[A-Za-z_][\w.]*: ", "", last.strip())


def _write_traceback(error: BaseException) -> Path:
    """Write the traceback to a new file; returns where.

    Raises:
        OSError: neither the user's folder nor the one for temporary files can be written.
    """
    import platform
    import tempfile
    import traceback
    from pathlib import Path

    from pag_ros.folders import state_folder

    heading = f"pag_ros {__version__}, Python {platform.python_version()}, {platform.platform()}"
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = f"{heading}\n{sys.argv}\n\n{''.join(lines)[-_MAX_TRACEBACK_CHARS:]}"
    try:
        folder = state_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _remove_oldest(folder)
        return _write_new(folder, text)
    except (OSError, PagError):  # PagError: nobody knows the user's home
        return _write_new(Path(tempfile.gettempdir()), text)


def _remove_oldest(folder: Path) -> None:
    files = sorted(folder.glob("traceback-*.txt"), key=lambda path: path.stat().st_mtime)
    for path in files[: max(0, len(files) - MAX_TRACEBACKS + 1)]:
        path.unlink(missing_ok=True)


def _write_new(folder: Path, text: str) -> Path:
    import tempfile
    from pathlib import Path

    # A new name, so nothing is replaced; readable by its owner alone, for /tmp is everybody's.
    number, name = tempfile.mkstemp(prefix="traceback-", suffix=".txt", dir=folder)
    with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


@contextmanager
def _watched() -> Iterator[_Seen]:
    """Take note of Ctrl-C, and of threads that fail, as long as a command runs.

    A library that is interrupted within its own code, while it is imported for example, turns the
    interrupt into an error of its own: what it raises then is no fault.
    """
    seen = _Seen()

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.interrupt = True
        signal.default_int_handler(number, frame)

    def report_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not seen.interrupt:
            seen.thread_failed = True
            _say(_unexpected(args.exc_value))

    hook, threading.excepthook = threading.excepthook, report_thread
    # Not where it is ignored (nohup), nor in a thread, which may not set it.
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield seen
    finally:
        threading.excepthook = hook
        if ours and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads, or the stream is closed
        print(f"pag_ros: error: {one_line(text)}", file=sys.stderr, flush=True)


def _streams() -> list[TextIO]:
    """Standard output and errors, those of them that the process was started with."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _flush() -> None:
    for stream in _streams():
        stream.flush()


def _is_reader_gone() -> bool:
    """Whether standard output or errors go to a pipe that nobody reads."""
    import select

    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_unwritable() -> None:
    """Keep Python from trying again, and complaining, when it ends."""
    for stream in _streams():
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
