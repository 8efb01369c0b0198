"""Taught gates as a file of their own: kilobytes, beside a checkpoint of hundreds of megabytes.

They are of use to the very checkpoint that they were taught for, which the file knows.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from pag_ros import checks
from pag_ros.errors import ModelError
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.sharing import MOST
from pag_ros.reading import reading
from pag_ros.writing import write_bytes

_KEY = "pag_ros.gates"


def save_gates(network: GatedDepthAnything, path: Path) -> None:
    """Write the gates of a network, and how its blocks share a budget.

    Raises:
        ModelError: a weight is infinite or NaN; no file is written.
        OSError: it cannot be written.
    """
    tensors = _gates(network)
    require_finite(tensors, path)
    about = {
        "network": fingerprint(network),
        "taught_on": network.taught_on,
        "tilt": network.tilt,
    }
    content = serialize(tensors, {"format": "pt", _KEY: json.dumps(about)})
    write_bytes(path, content, make_folder=True)


def load_gates(network: GatedDepthAnything, path: Path) -> None:
    """Give a network the gates that were taught for it.

    Raises:
        ModelError: the file is missing, damaged, no gates, or was taught for other weights.
    """
    with reading(path, "gates by `pag_ros adopt --teach`", ModelError):
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = checks.entries(json.loads(metadata[_KEY]), _KEY)
        taught_on = checks.text(about["taught_on"], "taught_on")
        tilt = checks.number(about["tilt"], "tilt", -MOST, MOST)
        if about["network"] != fingerprint(network):
            raise ModelError(f"{path}: taught for another checkpoint; teach this one: --teach")
        own = _gates(network)
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            count = len(own) // 2
            raise ModelError(
                f"{path}: not gates of {count} blocks as they are now; teach anew: --teach"
            )
        require_finite(state, path)
    for name, value in own.items():
        value.copy_(state[name])
    network.taught_on, network.tilt = taught_on, tilt


def fingerprint(network: GatedDepthAnything) -> str:
    """Tells checkpoints apart: of the first block's weights, which all training changes."""
    weight = network.pretrained.gated[0].attn.qkv.weight.detach().float().contiguous()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()


def _gates(network: GatedDepthAnything) -> dict[str, Tensor]:
    return {
        f"blocks.{block.slot}.gate.{name}": value.detach()
        for block in network.pretrained.gated
        for name, value in block.gate.named_parameters()
    }
