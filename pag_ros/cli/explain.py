"""Say why the controller decided as it did, from the log that `log_decisions` names.

The log is replayed on a new controller, which has to decide the same bit for bit; then its course
is told and drawn.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pag_ros.budget.decision_log import first_difference, read_decisions
from pag_ros.cli.options import add_json, add_model, add_plot, write_json
from pag_ros.errors import ParameterError
from pag_ros.evaluation.decisions import Course, course_of, summary
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime import find_model
from pag_ros.runtime.network_size import resized


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", type=Path, help="JSON lines of the node's log_decisions")
    add_model(parser)
    add_plot(parser, "draw it here instead of in LOG with .png")
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    from pag_ros.evaluation.decisions import plot_course

    head = next(read_decisions(args.log))
    difference = first_difference(args.log, _manifest(args, head))
    course = course_of(read_decisions(args.log))
    if not course.time_left_ms:
        raise ParameterError(f"{args.log}: no frame was planned")
    picture = args.plot or args.log.with_suffix(".png")
    plot_course(course, picture)
    result = {"difference": difference, "plot": str(picture), **asdict(summary(course))}
    if not write_json(result, args.json):
        print(_text(course, difference))
        print(f"drawn in {picture}")
    return 0 if difference is None else 1


def _manifest(args: argparse.Namespace, head: dict[str, Any]) -> Manifest:
    """The model's manifest, at the size that the log was written at."""
    manifest = load_manifest(find_model(args.model))
    width, height = head["input"]
    # The log of another model is told from this one's when it is replayed.
    return resized(manifest, (width, height)) if head["sha256"] == manifest.sha256 else manifest


def _text(course: Course, difference: str | None) -> str:
    figures = summary(course)
    replayed = "yes" if difference is None else f"NO, {difference}"
    lines = [
        f"replayed bit for bit: {replayed}",
        f"{figures.frames} frames planned, {figures.skipped} skipped, {figures.trimmed} trimmed",
        f"budget: mean {figures.budget_mean:.2f}, {figures.budget_min:.2f} to "
        f"{figures.budget_max:.2f}",
        f"slowdown: {figures.slowdown_min:.2f} to {figures.slowdown_max:.2f}",
    ]
    lines += [f"frame {fall.frame}: {fall.text}" for fall in figures.falls]
    return "\n".join(lines)
