"""Score every frame of a bag, offline.

Reads sqlite3 and mcap bags without ROS, runs each frame at each budget, scores the outputs where
the bag has ground truth (depth, normals, labels), and writes OUT/report.html and OUT/report.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.options import (
    add_device,
    add_json,
    add_model,
    add_mount,
    add_precision,
    add_size,
    chosen_mount,
    write_json,
)
from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS
from pag_ros.evaluation.passes import SCALE
from pag_ros.evaluation.results import Evaluation, percentiles, to_json
from pag_ros.evaluation.truth_tally import describe_failures

MAX_SYNC_TOLERANCE_MS = 60_000.0

if TYPE_CHECKING:
    from pag_ros.evaluation.bags import Topics
    from pag_ros.runtime.floor_scale import Mount


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, help="bag folder, or its .mcap or .db3 file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the report")
    add_model(parser)
    add_device(parser)
    add_size(parser)
    add_precision(parser)
    parser.add_argument(
        "--budgets", type=float, nargs="+", metavar="B", help="in (0, 1] (default: 1 .75 .5 .25 .1)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    parser.add_argument(
        "--protocol",
        choices=sorted(DEPTH_PROTOCOLS),
        default="indoor",
        help="which true depths count: cap and crop of the published results (default: indoor)",
    )
    add_mount(parser)
    parser.add_argument(
        "--ground-frame",
        metavar="FRAME",
        help="on the floor, z up, e.g. base_footprint: take height and pitch of the camera from "
        "the bag's /tf_static instead",
    )
    add_json(parser)
    add_topic_arguments(parser)


def add_topic_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name the bag's topics and tell how they belong together.

    Without them topics are found by their contents, and belong together by their periods.
    """
    for kind, text in (
        ("image", "camera pictures, Image or CompressedImage"),
        ("camera-info", "CameraInfo of these pictures"),
        ("depth", "true depth, or none to leave it aside"),
        ("depth-camera-info", "CameraInfo of a depth camera of its own, or none"),
        ("normals", "true normals, or none"),
        ("labels", "true class ids, or none"),
    ):
        parser.add_argument(f"--{kind}-topic", metavar="TOPIC", help=text)
    parser.add_argument(
        "--sync-tolerance",
        type=float,
        metavar="MS",
        help="how far truth may be stamped from its image (default: half a period, at most 50 ms)",
    )
    parser.add_argument(
        "--depth-scale",
        type=float,
        metavar="METRES",
        help="of a unit of recorded depth (default: .001 in 16 bits, 1 in floats; TUM: .0002)",
    )


def chosen_depth_scale(args: argparse.Namespace) -> float | None:
    """The option --depth-scale; None if it was not given.

    Raises:
        ParameterError: it is out of range.
    """
    from pag_ros.evaluation.bags import DEPTH_SCALES

    scale: float | None = args.depth_scale
    low, high = DEPTH_SCALES
    if scale is not None and not low <= scale <= high:
        raise ParameterError(f"--depth-scale must lie in {low:g}..{high:g} m, got {scale:g}")
    return scale


def chosen_topics(args: argparse.Namespace) -> Topics:
    """The topics named by the options of `add_topic_arguments`."""
    from pag_ros.evaluation.bags import Topics

    return Topics(
        args.image_topic,
        args.camera_info_topic,
        args.depth_topic,
        args.normals_topic,
        args.labels_topic,
        args.depth_camera_info_topic,
    )


def chosen_tolerance_ns(args: argparse.Namespace) -> int | None:
    """The option --sync-tolerance in nanoseconds; None if it was not given.

    Raises:
        ParameterError: it is out of range.
    """
    tolerance_ms: float | None = args.sync_tolerance
    if tolerance_ms is None:
        return None
    if not 0.0 <= tolerance_ms <= MAX_SYNC_TOLERANCE_MS:
        raise ParameterError(
            f"--sync-tolerance must lie in 0..{MAX_SYNC_TOLERANCE_MS:.0f} ms, got {tolerance_ms:g}"
        )
    return round(1e6 * tolerance_ms)


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.evaluation.bags import Bag
    from pag_ros.evaluation.offline import DEFAULT_BUDGETS, evaluate_bag
    from pag_ros.evaluation.report import write_report
    from pag_ros.runtime import find_model, open_session

    tolerance_ns, scale, mount = chosen_tolerance_ns(args), chosen_depth_scale(args), _mount(args)
    ground: str | None = args.ground_frame
    with Bag(args.bag, chosen_topics(args), tolerance_ns, scale, ground_frame=ground) as bag:
        session = open_session(
            find_model(args.model), args.device, size=args.size, precision=args.precision
        )
        total = bag.count if args.limit is None else min(bag.count, args.limit)
        try:
            with tqdm(total=total, unit="frame", disable=None, file=sys.stderr) as bar:
                evaluation = evaluate_bag(
                    bag,
                    session,
                    args.budgets or DEFAULT_BUDGETS,
                    DEPTH_PROTOCOLS[args.protocol],
                    args.limit,
                    mount,
                    progress=bar.update,
                )
        finally:
            session.close()
    report = write_report(evaluation, args.out)
    if not write_json(to_json(evaluation), args.json):
        print_summary(evaluation)
        print(f"report: {report}")
    print_warnings(evaluation)
    require_scored_truth(evaluation, args.bag)
    return 0


def _mount(args: argparse.Namespace) -> Mount | None:
    """The camera's place that the options tell themselves; None: it is not known, or in the bag.

    Raises:
        ParameterError: see `chosen_mount`; or there is a frame on the ground as well.
    """
    mount = chosen_mount(args)
    if mount is not None and args.ground_frame is not None:
        raise ParameterError(
            "--camera-height and --ground-frame both tell the camera's height; leave one out"
        )
    return mount


def print_summary(evaluation: Evaluation) -> None:
    """A line a run: time and the main score of every task; then one a topic of truth."""
    for run in evaluation.runs:
        parts = [f"{run.name}: {len(run.records)} frames"]
        if run.latencies_ms.size:
            times = percentiles(run.latencies_ms)
            parts.append(f"p50 {times['p50']:.1f} ms, p95 {times['p95']:.1f} ms")
        for task, metric in (
            ("depth", "delta1"),
            ("depth (median-scaled)", "delta1"),
            ("normals", "median"),
            ("segmentation", "mIoU"),
        ):
            if task in run.scores.tasks:
                parts.append(f"{task} {metric} {run.scores.tasks[task][metric]:.3f}")
        print(", ".join(parts))
    counts = [f"{n} {name.removeprefix('images ')}" for name, n in evaluation.counters.items() if n]
    print(f"images: {', '.join(counts)}")
    if SCALE in evaluation.about:
        print(f"{SCALE}: {evaluation.about[SCALE]}")
    for tally in evaluation.truth:
        print(tally.summary())


def print_warnings(evaluation: Evaluation) -> None:
    """What was left out, and why, on stderr."""
    for problem, count in evaluation.problems.items():
        print(f"warning: {count} x {problem}", file=sys.stderr)
    for tally in evaluation.truth:
        for line in tally.warnings():
            print(f"warning: {line}", file=sys.stderr)


def require_scored_truth(evaluation: Evaluation, bag: Path) -> None:
    """End with an error if a topic of truth gave nothing, though the report has been written.

    Raises:
        BagError: one gave nothing.
    """
    failures = describe_failures(evaluation.truth)
    if failures is not None:
        raise BagError(f"{bag}: {failures}")
