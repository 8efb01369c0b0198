"""Taught gates as a file of their own, see `companion`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pag_ros import checks
from pag_ros.lab.transformers.companion import Kind, read_companion, save_companion
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.sharing import MOST

_KIND = Kind("pag_ros.gates", "gates", "they are now", "--teach")


def save_gates(network: GatedDepthAnything, path: Path) -> None:
    """Write the gates of a network, and how its blocks share a budget.

    Raises:
        ModelError, OSError: see `save_companion`.
    """
    about = {"taught_on": network.taught_on, "tilt": network.tilt}
    save_companion(_KIND, network, _gates(network), about, path)


def load_gates(network: GatedDepthAnything, path: Path) -> None:
    """Give a network the gates that were taught for it.

    Raises:
        ModelError: see `read_companion`.
    """
    own = _gates(network)

    def expected(about: Mapping[Any, Any]) -> tuple[tuple[str, float], Mapping[str, Tensor]]:
        taught_on = checks.text(about["taught_on"], "taught_on")
        return (taught_on, checks.number(about["tilt"], "tilt", -MOST, MOST)), own

    (network.taught_on, network.tilt), state = read_companion(_KIND, network, path, expected)
    for name, value in own.items():
        value.copy_(state[name])


def _gates(network: GatedDepthAnything) -> dict[str, Tensor]:
    return {
        f"blocks.{block.slot}.gate.{name}": value.detach()
        for block in network.pretrained.gated
        for name, value in block.gate.named_parameters()
    }
