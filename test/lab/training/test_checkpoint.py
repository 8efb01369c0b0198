"""Weights that travel: a round trip, other heads, and files that are something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from pag_ros.errors import DatasetError, ModelError, ParameterError  # noqa: E402
from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402
from pag_ros.lab.training import checkpoint  # noqa: E402
from pag_ros.lab.training.checkpoint import (  # noqa: E402
    initialize_from,
    load_checkpoint,
    load_weights,
    rounded,
    save_weights,
)

CONFIG = NetworkConfig(blocks=2, channels=16, classes=2, class_names=("wall", "floor"))


@pytest.fixture
def trained(tmp_path: Path) -> PagNetwork:
    torch.manual_seed(1)
    network = build_network(CONFIG)
    save_weights(network, tmp_path / "network.safetensors")
    return network


def test_a_network_survives_the_trip_bit_by_bit(trained: PagNetwork, tmp_path: Path) -> None:
    loaded = load_checkpoint(tmp_path / "network.safetensors")
    assert loaded.config == CONFIG
    assert not loaded.training
    for name, value in trained.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert {path.name for path in tmp_path.iterdir()} == {"network.safetensors"}


def test_half_precision_is_used_where_it_loses_nothing(trained: PagNetwork, tmp_path: Path) -> None:
    stored = load_file(tmp_path / "network.safetensors")
    assert stored["trunk.0.bn2.running_mean"].dtype == torch.float16  # zeros
    assert stored["trunk.0.conv2.weight"].dtype == torch.float32  # random


def test_other_heads_start_new_and_the_rest_is_taken(trained: PagNetwork, tmp_path: Path) -> None:
    other = build_network(replace(CONFIG, heads=("depth", "boundary")))
    own_head = other.decoder.heads["boundary"].weight.detach().clone()
    assert initialize_from(other, tmp_path / "network.safetensors") == ("boundary",)
    assert torch.equal(other.trunk[0].conv2.weight, trained.trunk[0].conv2.weight)
    assert torch.equal(other.decoder.heads["depth"].weight, trained.decoder.heads["depth"].weight)
    assert torch.equal(other.decoder.heads["boundary"].weight, own_head)


@pytest.mark.parametrize(
    "classes", [{"classes": 5, "class_names": ()}, {"class_names": ("sky", "road")}]
)
def test_other_classes_make_a_new_head(
    classes: dict[str, object], trained: PagNetwork, tmp_path: Path
) -> None:
    other = build_network(replace(CONFIG, **classes))
    assert initialize_from(other, tmp_path / "network.safetensors") == ("segmentation",)


def test_a_trained_trunk_starts_a_network_with_another_encoder(
    trained: PagNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    other = build_network(replace(CONFIG, encoder="lite2"))
    encoder = {k: v.clone() for k, v in other.encoder.state_dict().items()}
    assert initialize_from(other, path) == ()
    for name, value in other.encoder.state_dict().items():
        assert torch.equal(value, encoder[name]), name
    for part in ("trunk", "decoder.heads"):
        own, theirs = (net.get_submodule(part).state_dict() for net in (other, trained))
        assert all(torch.equal(own[name], theirs[name]) for name in theirs), part
    resnet = build_network(replace(CONFIG, encoder="resnet18"))
    with pytest.raises(ParameterError, match="its encoder is lite and"):
        initialize_from(resnet, path)


def test_another_network_is_refused_by_what_differs(trained: PagNetwork, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="its channels is 16 and the configuration's 24"):
        initialize_from(
            build_network(replace(CONFIG, channels=24)), tmp_path / "network.safetensors"
        )


def test_files_that_are_something_else_are_named(trained: PagNetwork, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    whole = path.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"cut\.safetensors: not a safetensors file"):
        load_weights(tmp_path / "cut.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"other\.safetensors: holds no network of pag_ros"):
        load_weights(tmp_path / "other.safetensors")
    with pytest.raises(DatasetError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("content", [b"nothing", b""])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.pt: not a checkpoint"):
        load_checkpoint(path)


def test_sizes_must_be_those_of_the_configuration(trained: PagNetwork, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    state = load_file(path)
    trained.config = replace(CONFIG, channels=24)
    save_weights(trained, path)
    with pytest.raises(ModelError, match="configuration fits its weights"):
        load_weights(path)
    assert "fuse.0.weight" in state


def test_a_file_that_claims_a_huge_network_costs_no_memory(
    trained: PagNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.safetensors"
    trained.config = replace(CONFIG, channels=1024, blocks=64)
    save_weights(trained, path)
    made: list[torch.device] = []
    built = checkpoint.build_network

    def recorded(config: NetworkConfig) -> PagNetwork:
        network = built(config)
        made.extend(parameter.device for parameter in network.parameters())
        return network

    monkeypatch.setattr(checkpoint, "build_network", recorded)
    with pytest.raises(ModelError, match="configuration fits its weights"):
        load_weights(path)
    assert {device.type for device in made} == {"meta"}


def test_rounding_changes_a_copy_and_only_what_16_bits_can_hold() -> None:
    network = build_network(CONFIG)
    weight = network.fuse[0].weight
    with torch.no_grad():
        weight.flatten()[:3] = torch.tensor([1 / 3, 1e6, 0.5])
    before = weight.detach().clone()
    flat = rounded(network).fuse[0].weight.detach().flatten()
    assert flat[:3].tolist() == [float(torch.tensor(1 / 3).half()), 1e6, 0.5]
    assert torch.equal(flat[3:], before.flatten()[3:].half().float())
    assert torch.equal(weight, before)


def test_weights_without_a_pooled_scale_are_a_start_for_a_network_with_one(
    trained: PagNetwork, tmp_path: Path
) -> None:
    network = build_network(replace(CONFIG, pooled_scale=True))
    assert initialize_from(network, tmp_path / "network.safetensors") == ()
    for name, value in trained.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name
    assert not network.decoder.scale.output.weight.any()
