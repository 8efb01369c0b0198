"""Build what a GPU needs to run a model.

pag_ros build kernels   the GPU kernels of a model, for several GPUs, on a machine without one
"""

from __future__ import annotations

import argparse

from pag_ros.cli import build_kernels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    kernels = kinds.add_parser(
        "kernels", help="the GPU kernels of a model", description=build_kernels.__doc__
    )
    build_kernels.add_arguments(kernels)


def main(args: argparse.Namespace) -> int:
    return build_kernels.main(args)
