"""Files of a training run: the checkpoint to go on from, the weights that travel."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from pag_ros.errors import DatasetError, ModelError, ParameterError
from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network
from pag_ros.lab.model.finite import require_finite
from pag_ros.reading import reading
from pag_ros.writing import write_bytes

_CONFIG_KEY = "pag_ros.network"
_HEADS = "decoder.heads."
_LABELS_HEAD = f"{_HEADS}segmentation."
_CHECKPOINT = "a checkpoint of `pag_ros train`"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    # Not straight to the file: of a full disk torch tells nothing but "unexpected pos".
    content = io.BytesIO()
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """What `save_checkpoint` wrote, its tensors on `device`; no code in the file is run.

    Raises:
        ModelError: the file is damaged, or holds something else.
    """
    with reading(path, _CHECKPOINT, ModelError):
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}")
        return state


def load_checkpoint(path: Path) -> PagNetwork:
    """The network of a checkpoint (averaged) or of a weights file, in evaluation mode.

    Args:
        path: checkpoint.pt of a training run, or .safetensors by `save_weights`.

    Raises:
        DatasetError: no such file.
        ModelError: the file is damaged, holds something else, or weights that are not finite.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint; train with `pag_ros train`")
    if path.suffix == ".safetensors":
        return load_weights(path)
    state = read_checkpoint(path, torch.device("cpu"))
    with reading(path, _CHECKPOINT, ModelError):
        weights = {
            key.removeprefix("module."): value
            for key, value in state["average"].items()
            if key.startswith("module.")
        }
        network = _network_of(state["config"], weights)
    require_finite(network.state_dict(), path)
    return network


def save_weights(network: PagNetwork, path: Path) -> None:
    """Write the network's weights as safetensors, its configuration as JSON in the metadata.

    A tensor is stored as float16 where that loses nothing, else as float32. The file is written
    whole or not at all.

    Raises:
        ModelError: a weight is infinite or NaN; no file is written.
        OSError: it cannot be written.
    """
    require_finite(network.state_dict(), path)
    tensors = {name: _smallest(value) for name, value in network.state_dict().items()}
    metadata = {"format": "pt", _CONFIG_KEY: json.dumps(asdict(network.config))}
    write_bytes(path, serialize(tensors, metadata))


def rounded(network: PagNetwork) -> PagNetwork:
    """A copy whose weights are those of 16 bits, for a file of half the size.

    Weights that 16 bits cannot hold (beyond 65,504) stay as they are.
    """
    network = copy.deepcopy(network)
    for value in network.state_dict().values():
        if value.is_floating_point():
            half = value.half().to(value.dtype)
            value.copy_(torch.where(half.isfinite(), half, value))
    return network


def load_weights(path: Path) -> PagNetwork:
    """The network of a file by `save_weights`, in evaluation mode; no code in the file is run.

    Raises:
        ModelError: the file is missing, damaged, no network of ours, of other sizes than its
            configuration says, or has weights that are not finite.
    """
    with reading(path, "a safetensors file", ModelError), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _CONFIG_KEY not in metadata:
        raise ModelError(f"{path}: holds no network of pag_ros (no {_CONFIG_KEY} in its metadata)")
    with reading(path, "a network whose configuration fits its weights", ModelError):
        network = _network_of(json.loads(metadata[_CONFIG_KEY]), state)
    require_finite(network.state_dict(), path)
    return network


def initialize_from(network: PagNetwork, path: Path) -> tuple[str, ...]:
    """Start from trained weights of the same network, whatever its heads and its encoder.

    Between EfficientNet-Lites the encoder may differ: then all behind it that has the same shape
    is taken, since a trained trunk is a better start for a new encoder than a random one.

    Args:
        network: changed in place.
        path: see `load_checkpoint`.

    Returns:
        The heads that stay new: the file lacks them, or has other classes.

    Raises:
        ParameterError: the file holds another network.
        DatasetError, ModelError: see `load_checkpoint`.
    """
    trained = load_checkpoint(path)
    ours, theirs = _body(network.config), _body(trained.config)
    if differing := [key for key in ours if ours[key] != theirs[key]]:
        key = differing[0]
        raise ParameterError(
            f"{path}: another network, its {key} is {theirs[key]} and the configuration's "
            f"{ours[key]}"
        )
    own, state = network.state_dict(), trained.state_dict()
    if network.config.encoder != trained.config.encoder:
        state = {k: v for k, v in state.items() if not k.startswith("encoder.")}
    names = network.config.class_names, trained.config.class_names
    if all(names) and names[0] != names[1]:
        state = {k: v for k, v in state.items() if not k.startswith(_LABELS_HEAD)}
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    network.load_state_dict({**own, **fitting})
    missing = {key.split(".")[2] for key in own if key not in fitting and key.startswith(_HEADS)}
    return tuple(head for head in network.config.heads if head in missing)


def same_network(config: NetworkConfig, stored: dict[str, Any]) -> bool:
    """Whether a checkpoint's configuration, perhaps of an older version, is this one."""
    return NetworkConfig.from_mapping(stored) == config


def _network_of(config: dict[str, Any], state: dict[str, Tensor]) -> PagNetwork:
    """The network that a file describes, in evaluation mode, in float32.

    It is made without memory and takes the file's tensors as they are: what the configuration
    claims costs nothing unless the file holds it.

    Raises:
        Exception: of many kinds, by torch too, where they do not fit.
    """
    with torch.device("meta"):
        network = build_network(NetworkConfig.from_mapping(config))
    kinds = {name: value.dtype for name, value in network.state_dict().items()}
    named = {name: value.to(kinds.get(name, value.dtype)) for name, value in state.items()}
    network.load_state_dict(named, assign=True)
    return network.eval()


def _body(config: NetworkConfig) -> dict[str, Any]:
    free = ("heads", "classes", "class_names", "pooled_scale", "canonical_normals")
    body = {key: value for key, value in asdict(config).items() if key not in free}
    if config.encoder.startswith("lite"):
        body["encoder"] = "lite"
    return body


def _smallest(value: Tensor) -> Tensor:
    # Rows in order: safetensors knows no channels-last.
    value = value.detach().cpu().contiguous()
    if value.dtype != torch.float32:
        return value
    half = value.half()
    return half if torch.equal(half.float(), value) else value
