"""Options of the commands that read recordings to learn from them."""

from __future__ import annotations

import argparse

from pag_ros.cli.evaluate import chosen_depth_scale, chosen_tolerance_ns, chosen_topics
from pag_ros.errors import ParameterError
from pag_ros.lab.recordings import ImportOptions

_MAX_INTERVAL_S = 3600.0


def add_recording_arguments(parser: argparse.ArgumentParser) -> None:
    """Options beside those of `cli.evaluate.add_topic_arguments`."""
    parser.add_argument(
        "--interval",
        type=float,
        metavar="S",
        help=f"shortest time between two frames that are used ({ImportOptions.interval_s:g})",
    )
    parser.add_argument(
        "--no-derived-normals",
        action="store_true",
        help="leave normals without truth instead of deriving them from dense depth",
    )


def chosen_import(args: argparse.Namespace) -> ImportOptions:
    """How recordings are to be read.

    Raises:
        ParameterError: an option is out of range.
    """
    interval_s = ImportOptions.interval_s if args.interval is None else args.interval
    if not 0.0 <= interval_s <= _MAX_INTERVAL_S:
        raise ParameterError(f"--interval must lie in 0..{_MAX_INTERVAL_S:g} s, got {interval_s:g}")
    return ImportOptions(
        topics=chosen_topics(args),
        tolerance_ns=chosen_tolerance_ns(args),
        depth_scale=chosen_depth_scale(args),
        interval_s=interval_s,
        normals=not args.no_derived_normals,
    )
