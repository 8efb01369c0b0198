"""Whole networks: shapes, sparse equals masked, published weight names, metric depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.model.blocks import GatedBlock  # noqa: E402
from pag_ros.lab.model.cost import count_macs  # noqa: E402
from pag_ros.lab.model.efficientnet_lite import EfficientNetLite, SameConv2d  # noqa: E402
from pag_ros.lab.model.gating import DenseGating, SparseGating, TopKGating  # noqa: E402
from pag_ros.lab.model.network import (  # noqa: E402
    CANONICAL_FOCAL,
    HEADS,
    camera_normals,
    canonical_normals,
    metric_depth,
)
from pag_ros.lab.model.operators import no_limits  # noqa: E402
from pag_ros.lab.model.resnet import GatedResNet  # noqa: E402

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
        sparse = network(image, SparseGating(keep, no_limits(len(keep))))
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


STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def torchvision_names(layers: int) -> dict[str, torch.Tensor]:
    """A ResNet's state under torchvision's names, every tensor with a value of its own."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, kernel, kernel)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{name}"] = (outputs,)
        shapes[f"{norm}.num_batches_tracked"] = ()

    layer("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for stage, depth in enumerate(STAGES[layers], 1):
        width = 32 * 2**stage
        outputs = width if layers == 18 else 4 * width
        for i in range(depth):
            block = f"layer{stage}.{i}"
            kernels = (3, 3) if layers == 18 else (1, 3, 1)
            channels = [inputs, width, outputs] if layers == 18 else [inputs, width, width, outputs]
            for k, kernel in enumerate(kernels, 1):
                layer(f"{block}.conv{k}", f"{block}.bn{k}", channels[k], channels[k - 1], kernel)
            if i == 0 and (stage > 1 or layers == 50):
                layer(f"{block}.downsample.0", f"{block}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    shapes.update({"fc.weight": (1000, inputs), "fc.bias": (1000,)})
    return {name: torch.full(shape, 0.25 + i) for i, (name, shape) in enumerate(shapes.items())}


def pooled(layers: int) -> dict[str, str]:
    """Our names for what a MultiPool takes over -> torchvision's."""
    number = 1 if layers == 18 else 2
    ours = "layer4.1.pool"
    names = {f"{ours}.conv.weight": f"layer4.1.conv{number}.weight"}
    for name in ("weight", "bias", "running_mean", "running_var"):
        names[f"{ours}.norm.{name}"] = f"layer4.1.bn{number}.{name}"
    return names


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("layers", [18, 50])
def test_resnet_reads_torchvision_weights_into_multipool_too(
    layers: int, suffix: str, tmp_path: Path
) -> None:
    path, state = tmp_path / f"resnet.{suffix}", torchvision_names(layers)
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    encoder = GatedResNet(layers, multipool=True)
    encoder.load_pretrained(path)
    for name, value in encoder.state_dict().items():
        if ".gate." in name or ".pool.head" in name or name.endswith("num_batches_tracked"):
            continue
        assert torch.equal(value, state[pooled(layers).get(name, name)]), name
    with pytest.raises(ModelError, match="not torchvision weights"):
        GatedResNet(50 if layers == 18 else 18).load_pretrained(path)


def test_weights_from_before_batches_were_counted_load_as_well(tmp_path: Path) -> None:
    state = torchvision_names(18)
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "resnet.pth")
    encoder = GatedResNet(18)
    encoder.load_pretrained(tmp_path / "resnet.pth")
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"])


def test_a_weights_file_may_not_carry_code(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path("/")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth: not a weights file"):
        GatedResNet(18).load_pretrained(tmp_path / "evil.pth")


def test_freezing_a_resnet_leaves_its_gates_free() -> None:
    encoder = GatedResNet(18)
    encoder.freeze(4)
    trainable = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert trainable
    assert all(".gate." in name or ".pool.head" in name for name in trainable)


def test_the_papers_savings_come_out() -> None:
    """Of the encoder's multiply-adds at output stride 8; gating.md, section 1."""
    encoder = GatedResNet(50, "conv3x3", 8, multipool=False).eval()
    gated = [module for module in encoder.modules() if isinstance(module, GatedBlock)]
    cost = count_macs(
        encoder, lambda x: encoder(x, DenseGating()), torch.zeros(1, 3, 160, 160), gated
    )
    shares = [cost.macs(rho) / cost.macs() for rho in (0.9, 0.8, 0.7, 0.5)]
    assert shares == pytest.approx([0.953, 0.905, 0.858, 0.762], abs=0.002)


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
    [
        ({"encoder": "vgg"}, "vgg"),
        ({"heads": ["depht"]}, "depht"),
        ({"bloks": 3}, "bloks"),
        ({"heads": []}, "heads: expected some of depth"),
        ({"heads": ["depth", "depth"]}, "twice"),
        ({"channels": 10**6}, "channels: expected a whole number from 1 to 1024"),
        ({"blocks": 0}, "blocks: expected a whole number"),
        ({"blocks": 1}, "multipool"),
        ({"classes": 256}, "classes: expected a whole number from 1 to 255"),
        ({"output_stride": 7}, "output_stride: expected 8 or 16 or 32"),
        ({"gate_scope": "all"}, "gate_scope: expected branch or conv3x3"),
        ({"classes": 3, "class_names": ["a", "b"]}, "2 class_names for 3"),
        ({"encoder": "resnet18", "gate_scope": "conv3x3"}, "resnet18"),
    ],
)
def test_bad_configuration_names_the_culprit(values: dict[str, object], culprit: str) -> None:
    with pytest.raises(ModelError, match=culprit):
        NetworkConfig.from_mapping(values)


def test_a_configuration_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a mapping"):
        NetworkConfig.from_mapping(["lite0"])  # type: ignore[arg-type]


def test_freezing_more_stages_than_a_resnet_has_freezes_all() -> None:
    encoder = GatedResNet(18, output_stride=32)
    encoder.freeze(9)
    assert not encoder.layer4[1].conv2.weight.requires_grad
    assert encoder.layer4[1].gate.weight.requires_grad


def test_depthwise_convolutions_stay_in_float32_where_a_cpu_computes_in_bfloat16() -> None:
    conv = SameConv2d(8, 8, 5, groups=8)
    image = torch.rand(1, 8, 7, 6)
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(image.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, conv(image.bfloat16().float()))


def test_a_pooled_scale_starts_at_nothing_and_moves_all_depths_of_a_picture_alike() -> None:
    torch.manual_seed(0)
    with_scale = build_network(NetworkConfig(blocks=2, channels=16, pooled_scale=True)).eval()
    without = build_network(NetworkConfig(blocks=2, channels=16)).eval()
    names = without.load_state_dict(with_scale.state_dict(), strict=False)
    assert all(name.startswith("decoder.scale.") for name in names.unexpected_keys)
    image = torch.rand(2, 3, 64, 64) * 255
    with torch.no_grad():
        before = without(image, DenseGating())
        for head, value in with_scale(image, DenseGating()).items():
            assert torch.equal(value, before[head]), head
        torch.nn.init.normal_(with_scale.decoder.scale.output.weight)
        after = with_scale(image, DenseGating())
    shift = after["depth"] - before["depth"]
    assert (shift.amax((1, 2, 3)) - shift.amin((1, 2, 3)) < 1e-4).all()
    assert abs(float(shift[0].mean() - shift[1].mean())) > 1e-5
    assert torch.equal(after["normals"], before["normals"])


def test_canonical_normals_are_those_of_the_stretched_scene() -> None:
    """A plane n.p = 1 through points p, seen by 200 px at a width of 320, is stretched along z."""
    focal_px, width = 200.0, 320
    normal = np.array([0.3, -0.6, -0.9])
    points = np.array([[0.1, 0.2, 1.0], [-0.4, 0.3, 1.0], [0.2, -0.5, 1.0]])
    points /= points @ normal[:, None]
    stretched = points * [1.0, 1.0, CANONICAL_FOCAL * width / focal_px]
    expected = np.cross(stretched[1] - stretched[0], stretched[2] - stretched[0])
    expected *= np.sign(expected @ normal) / np.linalg.norm(expected)
    seen = torch.tensor(normal).float().view(1, 3, 1, 1)
    canonical = canonical_normals(seen, torch.tensor([focal_px]), width)
    np.testing.assert_allclose(canonical.flatten().numpy(), expected, atol=1e-6)
    back = camera_normals(canonical, torch.tensor([focal_px]), width).flatten()
    np.testing.assert_allclose(back / back.norm(), normal / np.linalg.norm(normal), atol=1e-6)


def test_without_depth_there_is_no_scale() -> None:
    network = build_network(NetworkConfig(heads=("normals",), blocks=2, pooled_scale=True))
    assert network.decoder.scale is None
