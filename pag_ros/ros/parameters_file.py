"""Whether a ROS parameter file speaks to our node: rcl passes over what it finds no node for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from pag_ros.errors import ParameterError, one_line
from pag_ros.reading import read_limited, reading

MAX_BYTES = 1 << 20

_PARAMETERS = "ros__parameters"
_MAX_DEPTH = 20


def require_section(path: Path, node: str) -> None:
    """See that a file of parameters has some for a node.

    Args:
        node: its full name, "/front/pag_perception".

    Raises:
        ParameterError: it has none, or is no such file; the text names those that it has.
    """
    with reading(path, "a ROS parameter file", ParameterError):
        data = yaml.safe_load(read_limited(path, MAX_BYTES))
        if not isinstance(data, Mapping):
            raise ParameterError(f"expected names of nodes with {_PARAMETERS} below them")
        sections = list(_sections(data))
        if any(_matches(section, node) for section in sections):
            return
        there = ", ".join(one_line(section, 60) for section in sections[:5]) or "no node at all"
        raise ParameterError(f"has parameters for {there}, none for {node}; '/**' is every node")


def _sections(data: Mapping[object, object], prefix: str = "", depth: int = 0) -> Iterator[str]:
    """The names of nodes, wildcards in them, that have parameters."""
    for name, below in data.items():
        if name == _PARAMETERS:
            yield prefix or "/"
        elif isinstance(below, Mapping) and depth < _MAX_DEPTH:
            yield from _sections(below, f"{prefix}/{str(name).strip('/')}", depth + 1)


def _matches(section: str, node: str) -> bool:
    """As rcl has it: ** stands for any names, * for one."""
    pattern = re.escape(section).replace(r"/\*\*", "(/[^/]+)*").replace(r"\*", "[^/]+")
    return re.fullmatch(pattern, node) is not None
