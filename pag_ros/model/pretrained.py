"""Published weights of encoders: torch's .pth files and safetensors."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pag_ros.errors import ModelError
from pag_ros.model.finite import require_finite


def read_state(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a weights file, on the CPU; no code in the file is run.

    Args:
        path: .safetensors, or anything else as written by `torch.save` (weights_only=True).

    Raises:
        ModelError: the file is missing, damaged, holds something else than named tensors, or
            values that are not finite.
    """
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, SafetensorError) as error:
        raise ModelError(f"{path}: not a weights file ({_first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path}: not a weights file (no mapping of names to tensors)")
    require_finite(state, path)
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
