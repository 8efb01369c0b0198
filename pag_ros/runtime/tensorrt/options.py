"""How engines are obtained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import one_line

Say = Callable[[str], None]
"""Takes a sentence on what is being done, for a log."""


def say_on_stderr(sentence: str) -> None:
    """Write a sentence where the user of a command sees it and a program does not read it."""
    print(f"pag_ros: {one_line(sentence)}", file=sys.stderr)


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is obtained.

    Attributes:
        cache: folder of engines; None is the user's cache.
        force: build an engine even if there is a sound one.
        say: told what is found, built and decided, and how far a build has come.
        report: told how far a build has come, in place of `say`: the share done, the seconds left
            or None, and the phase.
        is_stopped: asked during a build whether it is to end at once.
    """

    cache: Path | None = None
    force: bool = False
    say: Say = say_on_stderr
    report: Callable[[float, float | None, str], None] | None = None
    is_stopped: Callable[[], bool] = bool
