"""Measure our speed beside the dense runtimes that are installed (OpenVINO, ONNX Runtime, torch).

    pag_ros bench ops       sparse convolutions and gated blocks, over densities and kinds of masks
    pag_ros bench network   whole networks, over densities
    pag_ros bench sizes     one model at several input sizes and budgets
    pag_ros bench deadline  the controller beside others, in a simulator
    pag_ros bench kernels   the GPU kernels by their machine code, beside dense ones; no GPU needed
    pag_ros bench load      the real node while the machine is loaded on purpose
    pag_ros bench transport how many of a camera's pictures reach the node

What is measured takes turns in one run and medians count, yet a quiet machine gives the better
answer. docs/benchmarks.md explains the columns and holds our results.
"""

from __future__ import annotations

import argparse

from pag_ros.cli.command import Command
from pag_ros.cli.kinds import add_kinds, run_kind

KINDS = {
    "ops": Command("pag_ros.lab.commands.bench_speed", "convolutions and gated blocks"),
    "network": Command("pag_ros.lab.commands.bench_speed", "whole networks"),
    "sizes": Command(
        "pag_ros.lab.commands.bench_sizes", "one model at several input sizes and budgets"
    ),
    "deadline": Command(
        "pag_ros.lab.commands.bench_deadline", "the controller beside others, in a simulator"
    ),
    "kernels": Command(
        "pag_ros.lab.commands.bench_kernels",
        "what the GPU kernels cost by their machine code, estimated without a GPU",
    ),
    "load": Command(
        "pag_ros.cli.bench_load", "the real node while the machine is loaded on purpose"
    ),
    "transport": Command(
        "pag_ros.cli.bench_transport", "how many of a camera's pictures reach the node"
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_kinds(parser, KINDS)


def main(args: argparse.Namespace) -> int:
    return run_kind(args, KINDS)
