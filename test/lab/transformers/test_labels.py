"""A head for labels: its form, its colours, and its file, which fits one checkpoint alone."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from small_transformer import CLASSES, small_transformer  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.transformers.label_head import LabelHead  # noqa: E402
from pag_ros.lab.transformers.labels import (  # noqa: E402
    colored,
    load_label_head,
    new_head,
    save_label_head,
)
from pag_ros.manifest import load_manifest  # noqa: E402
from pag_ros.runtime import find_model  # noqa: E402


def features(network) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return network.pretrained(torch.randn(2, 3, 84, 112))


@torch.no_grad()
def test_labels_are_four_times_as_fine_as_patches_and_of_all_features() -> None:
    network = small_transformer()
    head = new_head(network, CLASSES).eval()
    seen = features(network)
    logits = head(seen)
    assert logits.shape == (2, 3, 24, 32)
    for number in range(4):
        changed = [f + (i == number) * torch.randn_like(f) for i, f in enumerate(seen)]
        assert not torch.allclose(head(changed), logits), number


@torch.no_grad()
def test_a_large_channel_does_not_drown_the_others() -> None:
    torch.manual_seed(2)
    head = LabelHead(8, CLASSES)
    small = torch.randn(16, 8, 6, 8)
    large = small * torch.tensor([1000.0, 1, 1, 1, 1, 1, 1, 1]).view(1, 8, 1, 1)
    torch.testing.assert_close(head([small]), head([large]), rtol=1e-2, atol=1e-3)


def test_classes_have_the_shipped_models_colours_or_a_hue_of_their_own() -> None:
    shipped = {c.name: c.color for c in load_manifest(find_model("pag_lite0_indoor")).classes}
    floor, dock, cart = colored(("Floor", "dock", "cart"))
    assert (floor.name, floor.color) == ("Floor", shipped["floor"])
    assert dock.color != cart.color


@torch.no_grad()
def test_a_head_comes_back_from_its_file(tmp_path: Path) -> None:
    network = small_transformer(labels=True)
    save_label_head(network, tmp_path / "a.labels.safetensors")
    again = small_transformer()
    load_label_head(again, tmp_path / "a.labels.safetensors")
    assert again.label_head.classes == CLASSES
    assert again.label_head.taught_on == "nothing"
    assert not again.label_head.training
    seen = features(network)
    assert torch.equal(again.label_head(seen), network.label_head(seen))


def test_a_head_that_does_not_fit_is_refused_in_a_line(tmp_path: Path) -> None:
    network = small_transformer(labels=True)
    path = tmp_path / "a.labels.safetensors"
    save_label_head(network, path)
    other = small_transformer()
    other.pretrained.gated[0].attn.qkv.weight.data += 0.1
    with pytest.raises(
        ModelError, match=r"taught for another checkpoint; teach this one: --labels"
    ):
        load_label_head(other, path)
    assert other.label_head is None
    network.label_head.smooth = torch.nn.Conv2d(64, 64, 1)
    save_label_head(network, path)
    with pytest.raises(ModelError, match="not a head as it is now; teach anew: --labels"):
        load_label_head(small_transformer(), path)
    for content in (b"", b"\0" * 100, path.read_bytes()[:-1]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"a\.labels\.safetensors"):
            load_label_head(small_transformer(), path)


def test_weights_that_are_no_numbers_are_neither_written_nor_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    network = small_transformer(labels=True)
    path = tmp_path / "a.labels.safetensors"
    save_label_head(network, path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata()
    state = load_file(path)
    state["mix.bias"][3] = float("nan")
    save_file(state, path, about)
    with pytest.raises(ModelError, match=r"mix\.bias"):
        load_label_head(small_transformer(), path)
    network.label_head.mix.bias.data[3] = float("inf")
    with pytest.raises(ModelError, match=r"mix\.bias"):
        save_label_head(network, tmp_path / "b.labels.safetensors")
    assert not (tmp_path / "b.labels.safetensors").exists()


def test_a_network_without_labels_has_no_file_of_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the network gives no labels"):
        save_label_head(small_transformer(), tmp_path / "a.labels.safetensors")
