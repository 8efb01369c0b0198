"""Build what a GPU needs to run a model.

pag_ros build MODEL       the TensorRT engine for this machine's GPU, into the user's cache
pag_ros build kernels     the GPU kernels of a model, for several GPUs, on a machine without one
pag_ros build reference   the outputs that a new engine's numbers are compared with
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pag_ros.cli.command import Command
from pag_ros.cli.kinds import add_kinds, run_kind

KINDS = {
    "engine": Command(
        "pag_ros.cli.build_engine",
        "the TensorRT engine of a model; the word `engine` may be left out",
    ),
    "kernels": Command("pag_ros.lab.commands.build_kernels", "the GPU kernels of a model"),
    "reference": Command(
        "pag_ros.lab.commands.build_reference",
        "the outputs that an engine's numbers are compared with",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_kinds(parser, KINDS)


def completed(arguments: Sequence[str]) -> list[str]:
    """The arguments with the kind that they mean: `build MODEL` builds an engine."""
    first = next(iter(arguments), "--help")
    is_told = first in KINDS or first in ("-h", "--help")
    return list(arguments) if is_told else ["engine", *arguments]


def main(args: argparse.Namespace) -> int:
    return run_kind(args, KINDS)
