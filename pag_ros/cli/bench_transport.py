"""How many of a camera's pictures reach the node: default settings on its side, several sizes.

A camera and the node run in processes of their own, for some seconds for each row. The camera's
has the middleware's own settings, as drivers have. `received` counts what came to the node,
superseded pictures included; `answered` those whose labels came back to the camera's process.
docs/ros.md (QoS) says what the node does so that pictures arrive.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from pag_ros.cli.options import add_json, add_model, image_size, write_json
from pag_ros.cli.replay import require_ros
from pag_ros.errors import ParameterError
from pag_ros.kernels import available_cpus
from pag_ros.runtime import find_model
from pag_ros.runtime.calibration import cpu_name
from pag_ros.runtime.network_size import size_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--sizes",
        type=image_size,
        nargs="+",
        default=[(640, 480), (1280, 720)],
        metavar="WIDTHxHEIGHT",
    )
    parser.add_argument("--fps", type=float, nargs="+", default=[10.0, 30.0], metavar="F")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each row (%(default)s)")
    parser.add_argument(
        "--asked",
        nargs="+",
        choices=("automatic", "reliable", "best_effort"),
        default=["automatic", "best_effort"],
        help="what the node asks for (default: automatic, and best_effort to compare with)",
    )
    parser.add_argument(
        "--stopped",
        action="store_true",
        help="each row with a second subscriber, of all outputs: one that listens, and one that "
        "stands still",
    )
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    require_ros()
    from pag_ros.replay.transport import (
        LISTENS,
        NOBODY,
        RELIABILITIES,
        STANDS_STILL,
        Link,
        measure,
    )

    _check(args)
    links = [
        Link(size_text(size), fps, offered, asked, second)
        for size in args.sizes
        for fps in args.fps
        for offered in RELIABILITIES
        for asked in args.asked
        for second in ([LISTENS, STANDS_STILL] if args.stopped else [NOBODY])
        if not (offered == "best_effort" and asked == "reliable")  # nothing comes, by design
    ]
    rows, model = [], find_model(args.model)
    with tempfile.TemporaryDirectory(prefix="pag_ros_transport_") as folder:
        for link in tqdm(links, unit="link", disable=None, file=sys.stderr):
            delivery = measure(link, args.seconds, model, Path(folder))
            rows.append({**asdict(link), **asdict(delivery)})
    result = {"cpu": cpu_name(), "cpus": available_cpus(), "rows": rows}
    if not write_json(result, args.json):
        print(f"{result['cpu']}, {result['cpus']} CPUs; the camera has default settings")
        columns = "pictures | a second | camera offers | node asks | second subscriber"
        print(f"| {columns} | sent | received | answered |")
        print("|---" * 8 + "|")
        for row in rows:
            print(
                f"| {row['size']} | {row['fps']:g} | {_words(row['offered'])} "
                f"| {_words(row['asked'])} | {row['second']} | {row['sent']} "
                f"| {row['received']} ({row['received'] / row['sent']:.0%}) | {row['answered']} |"
            )
    return 0


def _check(args: argparse.Namespace) -> None:
    if any(not 0.5 <= fps <= 240.0 for fps in args.fps):
        raise ParameterError(f"--fps must lie in .5 to 240, got {args.fps}")
    if not 0.5 <= args.seconds <= 3600.0:
        raise ParameterError(f"--seconds must lie in .5 to 3600, got {args.seconds}")


def _words(name: str) -> str:
    return name.replace("_", " ")
