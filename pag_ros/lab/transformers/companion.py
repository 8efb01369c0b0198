"""Files beside a checkpoint that hold what was taught on top of it, and are small beside it.

They are of use to the very checkpoint that they were taught on, which each of them knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from pag_ros import checks
from pag_ros.errors import ModelError
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.reading import reading
from pag_ros.writing import write_bytes

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Kind:
    """A kind of such files.

    Attributes:
        key: of what is said about the tensors, in the file.
        what: with its article, for people.
        now: "it is now", or "they are now".
        option: of `pag_ros adopt`, that teaches it.
    """

    key: str
    what: str
    now: str
    option: str


def save_companion(
    kind: Kind,
    network: GatedDepthAnything,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    path: Path,
) -> None:
    """Write tensors that were taught to a network, and what is said about them.

    Raises:
        ModelError: a weight is infinite or NaN; no file is written.
        OSError: it cannot be written.
    """
    require_finite(tensors, path)
    said = json.dumps({"network": _fingerprint(network), **about})
    content = serialize(dict(tensors), {"format": "pt", kind.key: said})
    write_bytes(path, content, make_folder=True)


def read_companion(
    kind: Kind,
    network: GatedDepthAnything,
    path: Path,
    expected: Callable[[Mapping[Any, Any]], tuple[_Read, Mapping[str, Tensor]]],
) -> tuple[_Read, dict[str, Tensor]]:
    """Read what was taught to a network.

    Args:
        expected: makes of what is said about the tensors whatever the caller wants of it, and
            tensors of the names and shapes that the file's must have; its ValueErrors are the
            file's.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or was taught to other weights.
    """
    with reading(path, f"{kind.what} by `pag_ros adopt {kind.option}`", ModelError):
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = checks.entries(json.loads(metadata[kind.key]), kind.key)
        if about["network"] != _fingerprint(network):
            raise ModelError(
                f"{path}: taught for another checkpoint; teach this one: {kind.option}"
            )
        read, wanted = expected(about)
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in wanted.items()}:
            raise ModelError(f"{path}: not {kind.what} as {kind.now}; teach anew: {kind.option}")
        require_finite(state, path)
    return read, state


def _fingerprint(network: GatedDepthAnything) -> str:
    """Tells checkpoints apart: of the first block's weights, which all training changes."""
    weight = network.pretrained.gated[0].attn.qkv.weight.detach().float().contiguous()
    return hashlib.sha256(weight.numpy().tobytes()).hexdigest()
