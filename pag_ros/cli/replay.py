"""Play a bag through the live node and report.

Starts the node as a process of its own (or takes one that runs: --no-node), sends it the bag's
images over ROS 2 at their own pace, and writes OUT/report.html and OUT/report.json: latency against
the deadline, what became of every frame, scores where the bag has ground truth.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pag_ros.budget.outcomes import PROCESSED, UNACCOUNTED
from pag_ros.cli.evaluate import (
    add_topic_arguments,
    chosen_depth_scale,
    chosen_tolerance_ns,
    chosen_topics,
    print_warnings,
    require_scored_truth,
)
from pag_ros.cli.options import (
    add_device,
    add_json,
    add_model,
    add_mount,
    add_size,
    chosen_mount,
    refuse,
    write_json,
)
from pag_ros.errors import NodeError, ParameterError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS
from pag_ros.evaluation.results import Evaluation, percentiles, to_json

if TYPE_CHECKING:
    from pag_ros.replay.live import ReplayOptions

INSTALL_ROS = (
    "rclpy is not installed: source a ROS 2 workspace, or on x86-64 Linux with Python 3.11 to 3.13 "
    "pip install 'pag_ros[ros]'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="bag folder, or its .mcap or .db3 file")
    parser.add_argument("--out", type=Path, required=True, help="folder for report and node.log")
    add_model(parser)
    add_device(parser)
    add_size(parser)
    parser.add_argument("--rate", type=float, default=1.0, help="2 plays twice as fast")
    parser.add_argument("--loop", type=int, default=1, metavar="N", help="play the bag N times")
    parser.add_argument(
        "--deadline-ms",
        type=float,
        metavar="D",
        help="from an image's stamp to its outputs (default: the time between two images)",
    )
    add_mount(parser)
    parser.add_argument("--params-file", type=Path, metavar="F", help="node parameters, YAML")
    parser.add_argument(
        "--no-node", action="store_true", help="take the node that runs already; start none"
    )
    parser.add_argument("--namespace", help="of the node (default: a new one; / with --no-node)")
    parser.add_argument(
        "--camera",
        default="",
        metavar="NAME",
        help="of the running node's (--no-node)",
    )
    parser.add_argument(
        "--protocol",
        choices=sorted(DEPTH_PROTOCOLS),
        default="indoor",
        help="which true depths count (default: indoor)",
    )
    add_json(parser)
    add_topic_arguments(parser)


def main(args: argparse.Namespace) -> int:
    chosen_mount(args)  # refuses what no camera has
    if args.no_node:
        refuse(args, ["--params-file"], "with --no-node: the running node has its parameters")
        if args.device != "auto":
            raise ParameterError("--device is of no use with --no-node: the running node has its")
    options = require_ros()(
        bag=args.bag,
        out=args.out,
        topics=chosen_topics(args),
        model=args.model,
        device=args.device,
        size=args.size,
        rate=args.rate,
        loops=args.loop,
        deadline_ms=args.deadline_ms,
        params_file=args.params_file,
        start_node=not args.no_node,
        namespace=args.namespace,
        camera=args.camera,
        protocol=DEPTH_PROTOCOLS[args.protocol],
        tolerance_ns=chosen_tolerance_ns(args),
        depth_scale=chosen_depth_scale(args),
        camera_height=args.camera_height,
        camera_pitch=args.camera_pitch,
    )
    evaluation = play(options)
    if not write_json(to_json(evaluation), args.json):
        print_summary(evaluation, args.out)
    print_warnings(evaluation)
    require_scored_truth(evaluation, args.bag)
    return exit_code(evaluation)


def require_ros() -> type[ReplayOptions]:
    """The replay's options, if ROS 2 is there.

    Raises:
        NodeError: it is not; the message says how to get it.
    """
    try:
        from pag_ros.replay.live import ReplayOptions
    except ImportError as error:
        raise NodeError(f"{INSTALL_ROS} ({error})") from error
    return ReplayOptions


def play(options: ReplayOptions) -> Evaluation:
    """Replay with a progress bar, and write the report."""
    from dataclasses import replace as changed

    from tqdm import tqdm

    from pag_ros.evaluation.bags import Bag
    from pag_ros.evaluation.report import write_report
    from pag_ros.replay.live import replay

    # So that `kill` unwinds the stack like Ctrl-C does, and the node's process ends with us.
    signal.signal(signal.SIGTERM, _exit)
    with Bag(options.bag, options.topics) as bag:
        total = bag.count * options.loops
    with tqdm(total=total, unit="image", disable=None, file=sys.stderr) as bar:
        evaluation = replay(changed(options, progress=bar.update))
    write_report(evaluation, options.out)
    return evaluation


def print_summary(evaluation: Evaluation, out: Path) -> None:
    """Frames, latency, density, scores, each topic of truth, and where the report is."""
    run = evaluation.runs[0]
    ends = ", ".join(f"{count} {name}" for name, count in run.outcomes.items() if count)
    print(f"frames:  {len(run.records)} sent: {ends}")
    latency, density = percentiles(run.latencies_ms), percentiles(run.densities)
    if latency and evaluation.deadline_ms is not None:
        late = run.late(evaluation.deadline_ms)
        shares = ", ".join(f"{name} {latency[name]:.1f}" for name in ("p50", "p95", "p99"))
        print(f"latency: {shares} ms; {late} later than {evaluation.deadline_ms:g} ms")
    if density:
        lowest, highest = run.densities.min(), run.densities.max()
        print(f"density: mean {density['mean']:.2f}, from {lowest:.2f} to {highest:.2f}")
    main_scores = {"depth": "delta1", "normals": "median", "segmentation": "mIoU"}
    scores = [
        f"{task} {metric} {run.scores.tasks[task][metric]:.3f}"
        for task, metric in main_scores.items()
        if task in run.scores.tasks
    ]
    without = "nothing could be scored" if evaluation.truth else "no ground truth in the bag"
    print(f"scores:  {', '.join(scores) or without}")
    for tally in evaluation.truth:
        print(f"         {tally.summary()}")
    print(f"report:  {out / 'report.html'}")


def exit_code(evaluation: Evaluation) -> int:
    """0; 1 if the node left a frame unaccounted for, or answered none."""
    outcomes = evaluation.runs[0].outcomes
    return int(outcomes[UNACCOUNTED] != 0 or outcomes[PROCESSED] == 0)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
