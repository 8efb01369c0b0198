"""Commands, and kinds of one, that are found by name: a robot does not import the workbench's."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse


class Command(NamedTuple):
    """A command or a kind of one.

    Attributes:
        module: with `add_arguments(parser)` and `main(args)`, imported only when it is needed.
        text: what it is for, one line of the help.
    """

    module: str
    text: str

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(self.module)


def add_kinds(parser: argparse.ArgumentParser, kinds: Mapping[str, Command]) -> None:
    """Let the first argument be the kind, followed by what this kind understands."""
    parsers = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, kind in kinds.items():
        module = kind.load()
        module.add_arguments(parsers.add_parser(name, help=kind.text, description=module.__doc__))


def run_kind(args: argparse.Namespace, kinds: Mapping[str, Command]) -> int:
    """Run the kind that the arguments name."""
    return int(kinds[args.kind].load().main(args))
