"""Published weights of encoders: torch's .pth files and safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from pag_ros.errors import ModelError
from pag_ros.lab.model.finite import require_finite
from pag_ros.reading import reading


def read_state(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a weights file, on the CPU; no code in the file is run.

    Args:
        path: .safetensors, or anything else as written by `torch.save` (weights_only=True).

    Raises:
        ModelError: the file is missing, damaged, holds something else than named tensors, or
            values that are not finite.
    """
    with reading(path, "a weights file", ModelError):
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise TypeError("no mapping of names to tensors")
    require_finite(state, path)
    return state
