"""Colours of the classes from a file of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pag_ros.errors import ParameterError
from pag_ros.manifest import LabelClass

MAX_FILE_BYTES = 1 << 16


def recolored(classes: Sequence[LabelClass], path: Path) -> tuple[LabelClass, ...]:
    """Classes in the colours of a YAML file `name: [red, green, blue]`; others keep their own.

    Raises:
        ParameterError: the file cannot be read, or is something else.
    """
    colors = _read(path)
    return tuple(
        replace(c, color=_color(path, c.name, colors[c.name])) if c.name in colors else c
        for c in classes
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ParameterError(f"palette {path}: larger than {MAX_FILE_BYTES} bytes")
        colors = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        gist = str(error).splitlines()[0]
        raise ParameterError(f"palette {path}: cannot be read ({gist})") from error
    if not isinstance(colors, dict):
        raise ParameterError(f"palette {path}: expected lines `class: [red, green, blue]`")
    return colors


def _color(path: Path, name: str, value: Any) -> tuple[int, int, int]:
    match value:
        case [int(red), int(green), int(blue)] if all(0 <= c <= 255 for c in value):
            return red, green, blue
    raise ParameterError(f"palette {path}: {name} must be [red, green, blue] of 0 to 255")
