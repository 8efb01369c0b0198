"""What a frame of a model takes on the CPU at several input sizes and budgets, in turns."""

from __future__ import annotations

import argparse
import sys

from pag_ros.cli.options import (
    add_json,
    add_model,
    add_precision,
    image_size,
    whole,
    write_json,
)
from pag_ros.errors import ParameterError
from pag_ros.kernels import available_cpus
from pag_ros.runtime import find_model

_SIZES = ((320, 240), (480, 360), (640, 480))
_BUDGETS = (1.0, 0.5, 0.3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--sizes",
        type=image_size,
        nargs="+",
        default=_SIZES,
        metavar="WIDTHxHEIGHT",
        help="input sizes (default: 320x240 480x360 640x480)",
    )
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=_BUDGETS, metavar="B", help="(default: 1 .5 .3)"
    )
    add_precision(parser)
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--rounds", type=whole(1), default=9, metavar="N", help="(default: 9)")
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.lab.bench import machine
    from pag_ros.lab.bench.sizes import measure_sizes, sizes_table
    from pag_ros.lab.bench.timing import use_cpus

    if args.threads > available_cpus():
        raise ParameterError(
            f"--threads {args.threads}: this process may use {available_cpus()} CPUs"
        )
    if any(not 0.0 <= budget <= 1.0 for budget in args.budgets):
        raise ParameterError(f"--budgets must lie in 0 to 1, got {list(args.budgets)}")
    use_cpus(args.threads)
    about = {**machine.describe(args.threads), **machine.versions()}
    model = find_model(args.model)
    with tqdm(total=args.rounds, unit="round", disable=None, file=sys.stderr) as bar:
        rows = measure_sizes(
            model,
            args.sizes,
            args.budgets,
            args.threads,
            args.rounds,
            args.precision,
            bar.update,
        )
    if not write_json({"machine": about, "rows": rows}, args.json):
        print(", ".join(f"{name} {value}" for name, value in about.items()))
        print(sizes_table(rows))
    return 0
