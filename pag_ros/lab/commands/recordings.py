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
        default=ImportOptions.interval_s,
        metavar="S",
        help="shortest time between two frames that are used (%(default)s)",
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
    if not 0.0 <= args.interval <= _MAX_INTERVAL_S:
        raise ParameterError(
            f"--interval must lie in 0..{_MAX_INTERVAL_S:g} s, got {args.interval:g}"
        )
    return ImportOptions(
        topics=chosen_topics(args),
        tolerance_ns=chosen_tolerance_ns(args),
        depth_scale=chosen_depth_scale(args),
        interval_s=args.interval,
        normals=not args.no_derived_normals,
    )
