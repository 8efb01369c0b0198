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
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.evaluate import add_topic_arguments
from pag_ros.cli.options import add_json, add_model, write_json
from pag_ros.lab.commands.options import add_teacher
from pag_ros.lab.commands.progress import Bars, stopped_by_interrupt
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
    progress = Bars()
    with stopped_by_interrupt(progress, "training ends; the best so far is judged") as is_stopped:
        tuned = tune(options, progress, is_stopped)
    progress.close()
    if not write_json({"model": str(tuned.model), **tuned.numbers}, args.json):
        print(_text(tuned))
    return 0 if tuned.judgement.better else NOT_BETTER


def _text(tuned: Tuned) -> str:
    better = "better on this recording" if tuned.judgement.better else "not shown to be better"
    reasons = (f"  {reason}" for reason in tuned.judgement.reasons)
    return "\n".join([f"{tuned.model}: {better}", *reasons, f"report: {tuned.report}"])
