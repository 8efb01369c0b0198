"""Checkpoints of a training run: everything needed to go on, or to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pag_ros.errors import DatasetError
from pag_ros.model import NetworkConfig, PagNetwork, build_network


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path) -> PagNetwork:
    """The averaged network of a checkpoint, in evaluation mode.

    Raises:
        DatasetError: no such file.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint; train with `pag_ros train`")
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = build_network(NetworkConfig.from_mapping(state["config"]))
    weights = {
        key.removeprefix("module."): value
        for key, value in state["average"].items()
        if key.startswith("module.")
    }
    network.load_state_dict(weights)
    return network.eval()
