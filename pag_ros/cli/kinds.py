"""Kinds of one command; only the one that is asked for is imported, with what it needs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pag_ros.cli.command import Command


def add_kinds(parser: argparse.ArgumentParser, kinds: Mapping[str, Command]) -> None:
    """Let the first argument be the kind, followed by what this kind understands."""
    parsers = parser.add_subparsers(
        dest="kind", required=True, metavar="KIND", parser_class=_KindParser
    )
    for name, kind in kinds.items():
        parsers.add_parser(name, help=kind.text, command=kind)


def run_kind(args: argparse.Namespace, kinds: Mapping[str, Command]) -> int:
    """Run the kind that the arguments name."""
    return int(kinds[args.kind].load().main(args))


class _KindParser(argparse.ArgumentParser):
    """Asks a kind for its arguments once there are some to parse, or its help is wanted."""

    def __init__(self, command: Command, **options: Any) -> None:
        super().__init__(**options)
        self._command: Command | None = command

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._command is not None:
            module, self._command = self._command.load(), None
            self.description = module.__doc__
            module.add_arguments(self)
        return super().parse_known_args(args, namespace)
