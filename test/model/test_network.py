"""Whole networks: shapes, sparse equals masked, published weight names, metric depth."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.model.efficientnet_lite import EfficientNetLite  # noqa: E402
from pag_ros.model.gating import SparseGating, TopKGating  # noqa: E402
from pag_ros.model.network import CANONICAL_FOCAL, HEADS, metric_depth  # noqa: E402
from pag_ros.model.resnet import GatedResNet  # noqa: E402

CONFIGS = {
    "lite0": NetworkConfig("lite0", heads=HEADS, blocks=3, channels=32),
    "lite2": NetworkConfig("lite2", blocks=2, channels=16),
    "resnet18": NetworkConfig("resnet18", output_stride=16),
    "resnet50 branch": NetworkConfig("resnet50"),
    "resnet50 conv3x3": NetworkConfig("resnet50", gate_scope="conv3x3"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_sparse_network_equals_masked_network(name: str) -> None:
    network = build_network(CONFIGS[name]).eval()
    image = torch.rand(1, 3, 70, 94) * 255  # no multiple of 32
    with torch.no_grad():
        gating = TopKGating(torch.full((len(network.gated),), 0.4))
        masked = network(image, gating)
        keep = torch.tensor([int(m.sum()) for m in gating.masks], dtype=torch.int32)
        sparse = network(image, SparseGating(keep, torch.zeros(len(keep), 2)))
    for head in CONFIGS[name].heads:
        assert masked[head].shape[2:] == (35, 47)
        assert torch.allclose(masked[head], sparse[head], atol=2e-3, rtol=1e-4), head


def test_the_papers_resnet50_has_a_gate_in_every_block_that_keeps_its_stride() -> None:
    assert len(build_network(CONFIGS["resnet50 conv3x3"]).gated) == 15
    assert len(build_network(CONFIGS["resnet50 branch"]).gated) == 15


def test_encoder_strides_round_up() -> None:
    features = EfficientNetLite("lite0").eval()(torch.rand(1, 3, 75, 101))
    assert [f.shape[2:] for f in features] == [(38, 51), (19, 26), (10, 13), (5, 7), (3, 4)]


def test_encoder_reads_published_weights_and_nothing_else(tmp_path: Path) -> None:
    encoder = EfficientNetLite("lite0")
    state = {k: torch.full_like(v, 0.5) for k, v in encoder.state_dict().items()}
    torch.save(
        {**state, "_conv_head.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)},
        tmp_path / "ok.pth",
    )
    encoder.load_pretrained(tmp_path / "ok.pth")
    assert float(encoder._conv_stem.weight.detach().mean()) == 0.5
    with pytest.raises(ModelError, match=r"ok\.pth: not the weights"):
        EfficientNetLite("lite2").load_pretrained(tmp_path / "ok.pth")
    with pytest.raises(ModelError, match=r"missing\.pth"):
        encoder.load_pretrained(tmp_path / "missing.pth")


def torchvision_names(layers: int) -> dict[str, torch.Tensor]:
    """A plain ResNet's state under torchvision's names: ours without gates and MultiPool."""
    plain = GatedResNet(layers, multipool=False).state_dict()
    state = {k: torch.full_like(v, 0.25) for k, v in plain.items() if ".gate." not in k}
    return {**state, "fc.weight": torch.zeros(1)}


@pytest.mark.parametrize("layers", [18, 50])
def test_resnet_reads_torchvision_weights_into_multipool_too(layers: int, tmp_path: Path) -> None:
    torch.save(torchvision_names(layers), tmp_path / "resnet.pth")
    encoder = GatedResNet(layers, multipool=True)
    encoder.load_pretrained(tmp_path / "resnet.pth")
    assert float(encoder.layer4[1].pool.conv.weight.detach().mean()) == 0.25
    assert float(encoder.layer1[0].conv1.weight.detach().mean()) == 0.25
    with pytest.raises(ModelError, match="not torchvision weights"):
        GatedResNet(50 if layers == 18 else 18).load_pretrained(tmp_path / "resnet.pth")


def test_frozen_blocks_get_no_gradient() -> None:
    encoder = EfficientNetLite("lite0")
    encoder.freeze(3)
    trainable = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert not any(n.startswith(("_conv_stem", "_blocks.2.")) for n in trainable)
    assert any(n.startswith("_blocks.3.") for n in trainable)


def test_depth_scales_with_focal_length() -> None:
    log_depth = torch.zeros(2, 1, 2, 2)
    focal = torch.tensor([CANONICAL_FOCAL * 320, 2 * CANONICAL_FOCAL * 320])
    depth = metric_depth(log_depth, focal, 320)
    assert depth[:, 0, 0, 0].tolist() == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "culprit"),
    [({"encoder": "vgg"}, "vgg"), ({"heads": ["depht"]}, "depht"), ({"bloks": 3}, "bloks")],
)
def test_bad_configuration_names_the_culprit(values: dict[str, object], culprit: str) -> None:
    with pytest.raises(ModelError, match=culprit):
        NetworkConfig.from_mapping(values)
