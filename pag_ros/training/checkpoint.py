"""Files of a training run: the checkpoint to go on from, the weights that travel."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pag_ros.errors import DatasetError, ModelError, ParameterError
from pag_ros.model import NetworkConfig, PagNetwork, build_network

_CONFIG_KEY = "pag_ros.network"
_HEADS = "decoder.heads."
_LABELS_HEAD = f"{_HEADS}segmentation."


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path) -> PagNetwork:
    """The network of a checkpoint (averaged) or of a weights file, in evaluation mode.

    Args:
        path: checkpoint.pt of a training run, or .safetensors by `save_weights`.

    Raises:
        DatasetError: no such file.
        ModelError: the file is damaged, or holds something else.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint; train with `pag_ros train`")
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = build_network(NetworkConfig.from_mapping(state["config"]))
        weights = {
            key.removeprefix("module."): value
            for key, value in state["average"].items()
            if key.startswith("module.")
        }
        network.load_state_dict(weights)
    except Exception as error:  # torch.load raises whatever its unpickler meets in a broken file
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{path}: not a checkpoint of `pag_ros train`, or damaged ({reason})"
        ) from error
    return network.eval()


def save_weights(network: PagNetwork, path: Path) -> None:
    """Write the network's weights as safetensors, its configuration as JSON in the metadata.

    A tensor is stored as float16 where that loses nothing, else as float32. The file is written
    whole or not at all.
    """
    tensors = {name: _smallest(value) for name, value in network.state_dict().items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, {"format": "pt", _CONFIG_KEY: json.dumps(asdict(network.config))})
    part.replace(path)


def load_weights(path: Path) -> PagNetwork:
    """The network of a file by `save_weights`, in evaluation mode; no code in the file is run.

    Raises:
        ModelError: the file is missing, damaged, no network of ours, or of other sizes than its
            configuration says.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a safetensors file ({error})") from error
    if _CONFIG_KEY not in metadata:
        raise ModelError(f"{path}: holds no network of pag_ros (no {_CONFIG_KEY} in its metadata)")
    try:
        network = build_network(NetworkConfig.from_mapping(json.loads(metadata[_CONFIG_KEY])))
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ModelError(f"{path}: weights and configuration disagree ({reason})") from error
    return network.eval()


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


def _body(config: NetworkConfig) -> dict[str, Any]:
    free = ("heads", "classes", "class_names")
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
