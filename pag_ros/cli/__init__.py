"""The `pag_ros` command: one module a subcommand, imported only when it is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pag_ros import __version__
from pag_ros.cli.command import Command
from pag_ros.cli.guard import guarded

COMMANDS = {
    "run": Command("pag_ros.cli.run", "pictures in, depth, normals and labels out"),
    "evaluate": Command("pag_ros.cli.evaluate", "score every frame of a bag, offline"),
    "score": Command("pag_ros.lab.commands.score", "score a model on labelled datasets"),
    "replay": Command("pag_ros.cli.replay", "play a bag through the live node and report"),
    "demo": Command(
        "pag_ros.cli.demo",
        "the shipped model on the shipped bag, through the live node",
    ),
    "calibrate": Command("pag_ros.cli.calibrate", "measure the latency table of this machine"),
    "bench": Command(
        "pag_ros.cli.bench",
        "our speed beside dense runtimes, and the controller beside others",
    ),
    "build": Command("pag_ros.cli.build", "what a GPU needs to run a model"),
    "doctor": Command("pag_ros.cli.doctor", "what is installed, what works, and what to do"),
    "explain": Command(
        "pag_ros.cli.explain",
        "why the controller decided as it did: replay and draw its log",
    ),
    "tune": Command("pag_ros.lab.commands.tune", "make a model good in the rooms of a recording"),
    "data": Command("pag_ros.lab.commands.data", "training data: from bags, or rendered"),
    "train": Command("pag_ros.lab.commands.train", "train a network for every budget"),
    "export": Command(
        "pag_ros.lab.commands.export",
        "write a trained network as ONNX with its manifest",
    ),
    "adopt": Command(
        "pag_ros.lab.commands.adopt",
        "make a model of a published checkpoint of Depth Anything V2 or 3",
    ),
    "quantize": Command(
        "pag_ros.lab.commands.quantize", "make a model ready to be computed in 8 bits"
    ),
    "compare": Command(
        "pag_ros.lab.commands.compare",
        "our network beside other ways to spend less compute",
    ),
    "results": Command("pag_ros.lab.commands.results", "tables and plots of stored comparisons"),
}


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

    parser = argparse.ArgumentParser(prog="pag_ros", description="Perception before a deadline.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.text)
        if name in arguments[:1]:
            module = command.load()
            subparser.description = module.__doc__
            subparser.formatter_class = argparse.RawDescriptionHelpFormatter
            module.add_arguments(subparser)
            subparser.set_defaults(main=module.main)
            if hasattr(module, "completed"):
                arguments[1:] = module.completed(arguments[1:])
    parsed = parser.parse_args(arguments)
    return int(parsed.main(parsed))
