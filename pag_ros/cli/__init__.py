"""The `pag_ros` command: one module a subcommand, imported only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pag_ros import __version__
from pag_ros.cli.guard import guarded

COMMANDS = {
    "run": "pictures in, depth, normals and labels out",
    "evaluate": "score every frame of a bag, offline",
    "score": "score a model on labelled datasets",
    "replay": "play a bag through the live node and report",
    "demo": "the shipped model on the shipped bag, through the live node",
    "calibrate": "measure the latency table of this machine",
    "bench": "our speed beside dense runtimes, and the controller beside others",
    "build": "what a GPU needs to run a model",
    "doctor": "what is installed, what works, and what to do",
    "explain": "why the controller decided as it did: replay and draw its log",
    "data": "render training rooms",
    "train": "train a network for every budget",
    "export": "write a trained network as ONNX with its manifest",
    "compare": "our network beside other ways to spend less compute",
    "results": "tables and plots of stored comparisons",
    "allocate": "find how a budget is best spread over the gated blocks",
}
"""Command -> help; its module is pag_ros.cli.<command>."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; whatever goes wrong becomes one line on stderr, see `guard.guarded`.

    Args:
        arguments: of the command line, without the program's name; None takes the process's own.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    return guarded(lambda: _run(given))


def _run(arguments: list[str]) -> int:
    import argparse
    import importlib

    parser = argparse.ArgumentParser(prog="pag_ros", description="Perception before a deadline.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        subparser = commands.add_parser(name, help=text)
        if name in arguments[:1]:
            module = importlib.import_module(f"pag_ros.cli.{name}")
            subparser.description = module.__doc__
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(subparser)
            subparser.set_defaults(main=module.main)
            if hasattr(module, "completed"):
                arguments[1:] = module.completed(arguments[1:])
    parsed = parser.parse_args(arguments)
    return int(parsed.main(parsed))
