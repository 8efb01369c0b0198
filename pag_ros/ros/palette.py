"""Colours of the classes from a file of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from pag_ros import checks
from pag_ros.errors import ParameterError
from pag_ros.manifest import LabelClass
from pag_ros.reading import read_limited, reading

MAX_FILE_BYTES = 1 << 16


def recolored(classes: Sequence[LabelClass], path: Path) -> tuple[LabelClass, ...]:
    """Classes in the colours of a YAML file `name: [red, green, blue]`; others keep their own.

    Raises:
        ParameterError: the file cannot be read, or is something else.
    """
    with reading(path, "a palette, lines of `class: [red, green, blue]`", ParameterError):
        colors = checks.entries(yaml.safe_load(read_limited(path, MAX_FILE_BYTES)), "classes")
        return tuple(
            replace(c, color=checks.color(colors[c.name], c.name)) if c.name in colors else c
            for c in classes
        )
