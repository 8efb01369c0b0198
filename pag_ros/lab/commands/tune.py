"""Make a model good in the rooms of a recording, and prove it on parts it has not seen.

    pag_ros tune my.bag --out mine/
    ros2 launch pag_ros perception.launch.py model:=mine/mine.onnx

Needs a bag with images, CameraInfo and depth (a depth camera's, or a lidar's in the image).
The exit code is 0 if the result is better on held-out frames, 1 if that is not shown; the report
says why. Ctrl-C during training goes on with the best so far; the same command resumes what was
stopped otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tqdm import tqdm

from pag_ros.cli.evaluate import add_topic_arguments
from pag_ros.cli.options import add_json, add_model, write_json
from pag_ros.lab.commands.options import add_teacher
from pag_ros.lab.commands.recordings import add_recording_arguments, chosen_import
from pag_ros.lab.threads import wait_passively

if TYPE_CHECKING:
    from pag_ros.lab.tuning import Tuned

NOT_BETTER = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="folder, or file")
    parser.add_argument("--out", type=Path, required=True, help="folder; names the tuned model")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (%(default)s)")
    add_model(parser)
    parser.add_argument(
        "--budgets", type=float, nargs="+", metavar="B", help="to judge at (default: 1 .5 .3)"
    )
    add_teacher(parser)
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    add_json(parser)
    add_recording_arguments(parser)
    add_topic_arguments(parser)


def main(args: argparse.Namespace) -> int:
    wait_passively()
    from pag_ros.lab.teachers import parse_teacher
    from pag_ros.lab.tuning import TuneOptions, tune
    from pag_ros.lab.tuning.options import BUDGETS
    from pag_ros.runtime import find_model

    options = TuneOptions(
        bags=tuple(args.bags),
        out=args.out,
        model=find_model(args.model),
        minutes=args.minutes,
        budgets=tuple(dict.fromkeys(args.budgets or BUDGETS)),
        recording=chosen_import(args),
        teachers=tuple(map(parse_teacher, args.teacher)),
        seed=args.seed,
    )
    progress = _Bars()
    with _stopped_by_interrupt(progress) as is_stopped:
        tuned = tune(options, progress, is_stopped)
    progress.close()
    if not write_json({"model": str(tuned.model), **tuned.numbers}, args.json):
        print(_text(tuned))
    return 0 if tuned.judgement.better else NOT_BETTER


class _Bars:
    """Lines, and a bar for a stage that has something to count, on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def stage(self, text: str, total: int | None = 0) -> None:
        self.close()
        if total == 0:
            self.say(text)
        else:
            self._bar = tqdm(desc=text, total=total, disable=None, file=sys.stderr, leave=False)

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def say(self, line: str) -> None:
        tqdm.write(f"pag_ros: {line}", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def _stopped_by_interrupt(progress: _Bars) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the training alone; a second one ends the command."""
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if asked and callable(before):
            before(number, frame)
        asked.append(number)
        progress.say("training ends; the best so far is judged (Ctrl-C again to leave)")

    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False  # ignored, as under nohup
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _text(tuned: Tuned) -> str:
    better = "better on this recording" if tuned.judgement.better else "not shown to be better"
    reasons = (f"  {reason}" for reason in tuned.judgement.reasons)
    return "\n".join([f"{tuned.model}: {better}", *reasons, f"report: {tuned.report}"])
