"""Check and time the GPU kernels on this machine; docs/gpu.md says how to read the result.

Parts in the order of what they are worth: facts of the machine, compilation of all kernels, small
kernels against their definition, the stored code of the shipped models, these networks in torch
with our kernels beside the same networks dense, gated blocks beside cuDNN's dense ones, larger
kernels, the networks through TensorRT where that is installed, a profile (ncu) and the sanitizer.

Every part is a process of its own: one that fails, hangs or spoils the GPU's state takes no other
along. Every row is on the disk as soon as it is known, and every part is reported when it ends.
Exit code 1 if something is wrong, 2 if nothing can run here, 128 and the signal's number if it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from tqdm import tqdm

from pag_ros.errors import one_line
from pag_ros.lab.gpu_check.report import Row, is_right, name_of, report
from pag_ros.runtime.child_processes import with_these_modules

SHARES = {
    "machine": 0.0,
    "build": 3.0,
    "small": 2.0,
    "stored": 3.0,
    "torch": 4.0,
    "transformer": 3.0,
    "speed": 6.0,
    "correctness": 4.0,
    "tensorrt": 2.0,
    "profile": 2.0,
    "sanitizer": 3.0,
}
"""Part -> its share of the time that is left, beside the parts after it. In the order they run."""

PARTS_MODULE = "pag_ros.lab.gpu_check.parts"
_REPORT_S = 5.0
"""Time that is kept for the report at the end."""
_MACHINE_S = 60.0
"""Time that the facts may take: without them the rest is worth nothing, and a driver may hang."""
_ORDERLY_SHARE = 0.85
"""Share of its time after which a part begins no new case; at the end of it, it is stopped."""
_GRACE_S = 3.0
_SAID = 1
"""Exit code of a part whose last row says why it failed."""
_WORTH_SAYING = ("failed", "errors", "stopped", "skipped")
"""Outcomes that are told at once."""


def main(arguments: Sequence[str] | None = None, began: float | None = None) -> int:
    """See the module.

    Args:
        began: `time.monotonic()` from which the minutes count; None is now.
    """
    args = _parser().parse_args(arguments)
    began = time.monotonic() if began is None else began
    try:
        check = Check(args.minutes, began, args.json, _passed_on(args))
    except OSError as error:
        print(f"gpu_check: error: {args.json}: {error.strerror}", file=sys.stderr)
        return 2
    with check.stopped_by_signals():
        for name in SHARES:
            if name == "machine" or name in args.only:
                before = len(check.rows)
                check.run(name, [each for each in SHARES if each in args.only])
                _print_part(check.rows[before:], is_first=before == 0)
            if check.has_no_gpu and not check.signal:
                print(f"gpu_check: error: {check.rows[-1]['text']}", file=sys.stderr)
                return 2
    if check.signal:
        return 128 + check.signal
    return 0 if is_right(check.rows) else 1


def _print_part(rows: Sequence[Row], is_first: bool) -> None:
    """The report of a part as soon as it has ended: whatever becomes of the rest, this is said."""
    if rows:
        print(report(rows) if is_first else f"\n{report(rows)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(SHARES),
        default=tuple(SHARES),
        metavar="PART",
        help=f"of {', '.join(SHARES)} (default: all)",
    )
    parser.add_argument(
        "--minutes", type=_positive, metavar="M", help="end in time, what is worth most first"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write a JSON object a row here")
    parser.add_argument("--channels", type=int, nargs="+", metavar="C", help="of the part speed")
    parser.add_argument("--batches", type=int, nargs="+", metavar="B", help="of the part speed")
    parser.add_argument("--densities", type=float, nargs="+", metavar="D", help="likewise")
    parser.add_argument("--rounds", type=int, default=21, help="medians of so many (%(default)s)")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def _passed_on(args: argparse.Namespace) -> list[str]:
    """The options that parts know as well."""
    options = ["--rounds", str(args.rounds)]
    for name in ("channels", "batches", "densities"):
        if given := getattr(args, name):
            options += [f"--{name}", *map(str, given)]
    return options


@dataclass
class Check:
    """Runs parts one after another and keeps what they tell.

    Attributes:
        rows: so far; each has "part".
        signal: that ended it, or 0.

    Args:
        minutes: for everything, None for as long as it takes.
        began: `time.monotonic()` from which they count.
        path: of a file that gets every row as a line of JSON.
        options: for the parts.
    """

    minutes: float | None
    began: float
    path: Path | None
    options: list[str]
    rows: list[Row] = field(default_factory=list)
    signal: int = 0
    _process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        # Not by `pag_ros.writing`: every row is to be there at once, whatever becomes of the GPU.
        self._file: IO[str] | None = self.path.open("w", encoding="utf-8") if self.path else None

    @property
    def has_no_gpu(self) -> bool:
        """Whether the first part has failed, as all others then would."""
        last = self.rows[-1] if self.rows else {}
        return last.get("part") == "machine" and "outcome" in last

    def run(self, name: str, wanted: Sequence[str]) -> None:
        """Run a part in the time that it gets of what is left.

        Args:
            wanted: all parts that are to run, in order.
        """
        seconds = self._seconds_for(name, wanted)
        if self.signal:
            self._note(name, "skipped", "stopped by a signal")
        elif seconds is not None and seconds < 1.0:
            self._note(name, "skipped", "no time was left for it")
        else:
            self._run_process(name, seconds)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the running part, skip the others, and let the report be made."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.signal = number
            if self._process is not None:
                _kill(self._process, signal.SIGTERM)
                last = threading.Timer(_GRACE_S, _kill, (self._process, signal.SIGKILL))
                last.daemon = True
                last.start()

        before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._file:
                self._file.close()

    def _seconds_for(self, name: str, wanted: Sequence[str]) -> float | None:
        if self.minutes is None:
            return None
        if name == "machine":
            return _MACHINE_S
        left = 60.0 * self.minutes - _REPORT_S - (time.monotonic() - self.began)
        order = list(SHARES)
        later = [each for each in wanted if order.index(each) > order.index(name)]
        return left * SHARES[name] / sum(SHARES[each] for each in (name, *later))

    def _run_process(self, name: str, seconds: float | None) -> None:
        limit = [] if seconds is None else ["--seconds", f"{_ORDERLY_SHARE * seconds:.1f}"]
        command = [sys.executable, "-m", PARTS_MODULE, name, "--end-with-parent"]
        command += [*limit, *self.options]
        before, began = len(self.rows), time.monotonic()
        with self._started(command) as process, _ended_after(process, seconds) as is_late:
            assert process.stdout is not None
            with tqdm(
                process.stdout, desc=name, unit="row", disable=None, file=sys.stderr
            ) as lines:
                for line in lines:
                    self._take(name, line)
            process.wait()
        if name != "machine":
            took = time.monotonic() - began
            _say(f"{name}: {len(self.rows) - before} rows in {took:.0f} s")
        last = self.rows[-1].get("outcome") if len(self.rows) > before else None
        if last in ("stopped", "skipped"):
            return  # It has said what it could not do any more.
        if self.signal:
            self._note(name, "stopped", "by a signal")
        elif is_late():
            self._note(name, "stopped", f"its {seconds:.0f} s were over")
        elif process.returncode not in (0, _SAID) or (process.returncode and last != "failed"):
            self._note(name, "failed", _ending(process.returncode))

    @contextmanager
    def _started(self, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=with_these_modules(),
            start_new_session=True,
        )
        self._process = process
        try:
            yield process
        finally:
            _kill(process, signal.SIGKILL)
            process.wait()
            self._process = None

    def _take(self, part: str, line: str) -> None:
        """A row as its part has written it: half of one, if it was killed meanwhile."""
        try:
            row = json.loads(line)
        except ValueError:
            self._note(part, "failed", f"a row that cannot be read: {one_line(line, 200)}")
            return
        self._add({"part": part, **row})

    def _note(self, part: str, outcome: str, text: str) -> None:
        self._add({"part": part, "outcome": outcome, "text": text})

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        if self._file:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        if row["part"] != "machine" and row.get("outcome") in _WORTH_SAYING:
            about = f"{name_of(row)}: " if name_of(row) else ""
            _say(f"{row['part']} {row['outcome']}: {about}{row['text']}")


@contextmanager
def _ended_after(
    process: subprocess.Popen[str], seconds: float | None
) -> Iterator[Callable[[], bool]]:
    """Ends a process that takes longer; tells whether it was necessary."""
    if seconds is None:
        yield lambda: False
        return
    was_late = threading.Event()

    def end() -> None:
        was_late.set()
        _kill(process, signal.SIGTERM)
        time.sleep(min(_GRACE_S, 0.1 * seconds))
        _kill(process, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield was_late.is_set
    finally:
        timer.cancel()


def _kill(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to a process and all that it has started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _say(sentence: str) -> None:
    tqdm.write(f"gpu_check: {sentence}", sys.stderr)


def _ending(code: int) -> str:
    if code > 0:
        return f"it ended with code {code}; what it said is above"
    return f"it was ended by {signal.Signals(-code).name}"


if __name__ == "__main__":
    sys.exit(main())
