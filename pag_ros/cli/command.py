"""A command that is found by name: its module is imported only where it is used."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple


class Command(NamedTuple):
    """A command, or a kind of one.

    Attributes:
        module: with `add_arguments(parser)` and `main(args)`.
        text: what it is for, one line of the help.
    """

    module: str
    text: str

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(self.module)
