"""Build what a GPU needs to run a model.

pag_ros build MODEL       the TensorRT plan for this machine's GPU, into the user's cache
pag_ros build kernels     the GPU kernels of a model, for several GPUs, on a machine without one
pag_ros build reference   the outputs that a new plan's numbers are compared with
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pag_ros.cli import build_kernels, build_plan, build_reference

_KINDS = {
    "plan": (build_plan, "the TensorRT plan of a model; the word `plan` may be left out"),
    "kernels": (build_kernels, "the GPU kernels of a model"),
    "reference": (build_reference, "the outputs that a plan's numbers are compared with"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, (module, text) in _KINDS.items():
        subparser = kinds.add_parser(name, help=text, description=module.__doc__)
        module.add_arguments(subparser)


def completed(arguments: Sequence[str]) -> list[str]:
    """The arguments with the kind that they mean: `build MODEL` builds a plan."""
    first = next(iter(arguments), "--help")
    is_told = first in _KINDS or first in ("-h", "--help")
    return list(arguments) if is_told else ["plan", *arguments]


def main(args: argparse.Namespace) -> int:
    module, _ = _KINDS[args.kind]
    return int(module.main(args))
