"""The shipped model on the shipped bag, through the live node.

Plays real rooms and a rendered walk at 10 images a second with a deadline of 100 ms, and leaves a
report with pictures. Takes about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.cli.replay import exit_code, play, print_summary, require_ros
from pag_ros.errors import BagError

DEADLINE_MS = 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="default: out/demo")


def main(args: argparse.Namespace) -> int:
    options = require_ros()(bag=demo_bag(), out=args.out, deadline_ms=DEADLINE_MS)
    evaluation = play(options)
    print_summary(evaluation, args.out)
    return exit_code(evaluation)


def demo_bag() -> Path:
    """Where the demo's bag is: it comes with the source tree, not with an installation.

    Raises:
        BagError: it is not there.
    """
    bag = Path(__file__).resolve().parents[2] / "demo" / "rooms"
    if not bag.is_dir():
        raise BagError(f"{bag}: no demo bag; run the demo in the source tree of pag_ros")
    return bag
