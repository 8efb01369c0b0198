"""Options that several commands of the lab have, alike in all of them."""

from __future__ import annotations

import argparse


def add_teacher(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--teacher KIND:FILE..., see `pag_ros.lab.teachers.parse_teacher`."""
    parser.add_argument(
        "--teacher",
        nargs="+",
        default=[],
        required=required,
        metavar="KIND:FILE",
        help="network that labels what has no truth; KIND is depth, relative-depth, inverse-depth "
        "or labels (docs/tuning.md)",
    )
