"""Weights that are no numbers are refused by name, wherever they come from or go to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402
from pag_ros.lab.model.finite import find_non_finite, require_finite  # noqa: E402
from pag_ros.lab.model.pretrained import read_state  # noqa: E402
from pag_ros.lab.training.checkpoint import (  # noqa: E402
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)

SPOILT = "trunk.1.bn1.running_var"


@pytest.fixture
def network() -> PagNetwork:
    return build_network(NetworkConfig(blocks=2, channels=16, classes=2))


def spoil(state: dict[str, Tensor], value: float) -> dict[str, Tensor]:
    """The same weights with one value replaced."""
    copied = {name: tensor.clone() for name, tensor in state.items()}
    copied[SPOILT].view(-1)[3] = value
    return copied


def test_every_tensor_with_such_values_is_counted_and_whole_numbers_are_left_alone() -> None:
    found = find_non_finite(
        {
            "sound": torch.ones(3),
            "variance": torch.tensor([1.0, torch.inf, -torch.inf]),
            "weight": torch.tensor([[torch.nan, 0.0]]),
            "batches": torch.tensor(7),
        }
    )
    assert found == {"variance": 2, "weight": 1}


def test_the_message_has_file_tensor_and_number() -> None:
    tensors = {"a.running_var": torch.tensor([1.0, torch.inf]), "b": torch.tensor([torch.nan])}
    with pytest.raises(ModelError, match=r"^x\.pt: 1 of 2 values of a\.running_var are infinite "):
        require_finite(tensors, Path("x.pt"))


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_weights_are_not_saved(network: PagNetwork, tmp_path: Path, value: float) -> None:
    network.load_state_dict(spoil(network.state_dict(), value))
    with pytest.raises(ModelError, match=rf"network\.safetensors: .*{SPOILT}"):
        save_weights(network, tmp_path / "network.safetensors")
    assert not list(tmp_path.iterdir())


def _spoilt_weights(network: PagNetwork, path: Path) -> Path:
    """A .safetensors file as it was shipped once: 16 bits could not hold a variance."""
    path = path.with_suffix(".safetensors")
    save_weights(network, path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(spoil(load_file(path), torch.inf), path, metadata)
    return path


def _spoilt_checkpoint(network: PagNetwork, path: Path) -> Path:
    from dataclasses import asdict

    average = {f"module.{k}": v for k, v in spoil(network.state_dict(), torch.nan).items()}
    path = path.with_suffix(".pt")
    save_checkpoint(path, {"average": average, "config": asdict(network.config)})
    return path


@pytest.mark.parametrize(
    ("make", "load"),
    [
        (_spoilt_weights, load_weights),
        (_spoilt_weights, load_checkpoint),
        (_spoilt_weights, read_state),
        (_spoilt_checkpoint, load_checkpoint),
    ],
)
def test_weights_are_not_loaded(
    network: PagNetwork,
    tmp_path: Path,
    make: Callable[[PagNetwork, Path], Path],
    load: Callable[[Path], object],
) -> None:
    path = make(network, tmp_path / "file")
    with pytest.raises(ModelError, match=rf"^{path}: 1 of 16 values of {SPOILT} are infinite"):
        load(path)
