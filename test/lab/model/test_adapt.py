"""gate_network: blocks in torchvision's names become gated ones that compute the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.model import GatedNetwork, gate_network  # noqa: E402
from pag_ros.lab.model.gating import DenseGating, SparseGating, TopKGating  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1 or inputs != channels:
            conv = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, groups: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if inputs != 4 * width:
            conv = nn.Conv2d(inputs, 4 * width, 1, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class LeakyBlock(BasicBlock):
    """Has a basic block's layers and computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(super().forward(x) - 1.0)


def conv_norm(inputs: int, outputs: int, kernel: int, groups: int, act: Callable[[], nn.Module]):
    conv = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3), act())


class InvertedResidual(nn.Module):
    """torchvision's mobilenet_v2."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.use_res_connect = channels == outputs
        hidden = 4 * channels
        self.conv = nn.Sequential(
            conv_norm(channels, hidden, 1, 1, nn.ReLU6),
            conv_norm(hidden, hidden, 3, hidden, nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, 3, 1)
        self.fc2 = nn.Conv2d(3, channels, 1)
        self.activation = nn.SiLU()
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class MBConv(nn.Module):
    """torchvision's efficientnet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.use_res_connect = True
        hidden = 3 * channels
        project = conv_norm(hidden, channels, 1, 1, nn.Identity)
        self.block = nn.Sequential(
            conv_norm(channels, hidden, 1, 1, nn.SiLU),
            conv_norm(hidden, hidden, 5, hidden, nn.SiLU),
            SqueezeExcitation(hidden),
            project[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Small(nn.Module):
    """Stem, stage, head: as networks of torchvision are built."""

    def __init__(self, *blocks: nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.layer1 = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(torch.relu(self.stem(x))).mean((2, 3)))


NETWORKS = {
    "basic": lambda: Small(BasicBlock(8, 8), BasicBlock(8, 12), BasicBlock(12, 12), channels=12),
    "bottleneck": lambda: Small(
        Bottleneck(8, 4), Bottleneck(16, 4), Bottleneck(16, 4, dilation=2), channels=16
    ),
    "mobilenet": lambda: Small(InvertedResidual(8, 8), InvertedResidual(8, 8)),
    "efficientnet": lambda: Small(MBConv(8), MBConv(8)),
}


def lively(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_with_every_pixel_computed_nothing_has_changed(name: str) -> None:
    net = lively(NETWORKS[name]())
    before = copy.deepcopy(net.state_dict())
    gated = gate_network(net)
    image = torch.rand(2, 3, 9, 11)
    full = TopKGating(torch.ones(len(gated.gated)))
    with torch.no_grad():
        expected = net(image)
        assert torch.allclose(gated(image, full), expected, atol=1e-5)
        assert torch.allclose(gated(image, DenseGating()), expected, atol=1e-5)
    assert len(gated.gated) == len(net.layer1)
    assert gated.names[0] == "layer1.0"
    assert [block.slot for block in gated.gated] == list(range(len(net.layer1)))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sparse_operators_give_what_the_masks_give(name: str) -> None:
    gated = gate_network(lively(NETWORKS[name]()))
    slots, image = len(gated.gated), torch.rand(1, 3, 9, 11)
    keep = torch.full((slots,), 40, dtype=torch.int32)
    with torch.no_grad():
        masked = gated(image, TopKGating(torch.full((slots,), 40 / 99)))
        sparse = gated(image, SparseGating(keep, no_limits(slots)))
    assert torch.allclose(masked, sparse, atol=1e-5)


def test_the_3x3_alone_is_gated_where_the_papers_scope_is_asked_for() -> None:
    gated = gate_network(lively(NETWORKS["bottleneck"]()), gate_scope="conv3x3")
    assert {block.scope for block in gated.gated} == {"conv3x3"}
    assert gated.gated[0].macs_per_pixel() == 9 * 4 * 4


def test_what_cannot_be_gated_stays_dense_and_is_named() -> None:
    blocks = (BasicBlock(8, 8), BasicBlock(8, 8, stride=2), LeakyBlock(8, 8), BasicBlock(8, 8))
    net = lively(Small(*blocks))
    gated = gate_network(net)
    assert gated.names == ("layer1.0", "layer1.3")
    assert "stride 2" in gated.dense["layer1.1"]
    assert "something else" in gated.dense["layer1.2"]
    image = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.allclose(gated(image, DenseGating()), net(image), atol=1e-5)


@pytest.mark.parametrize(
    ("net", "culprit"),
    [
        (lambda: Small(BasicBlock(8, 8, stride=2)), r"layer1\.0: conv1 has stride 2"),
        (lambda: Small(Bottleneck(8, 4, groups=2), channels=16), r"layer1\.0: conv2 has groups"),
        (lambda: Small(InvertedResidual(8, 12), channels=12), r"layer1\.0: changes stride"),
        (lambda: nn.Linear(2, 2), "Linear has no residual block"),
    ],
)
def test_a_network_without_a_block_to_gate_is_refused(
    net: Callable[[], nn.Module], culprit: str
) -> None:
    with pytest.raises(ModelError, match=culprit):
        gate_network(net())


def test_multiply_adds_fall_with_the_density() -> None:
    gated = gate_network(NETWORKS["basic"]())
    cost = gated.cost(torch.zeros(1, 3, 10, 10))
    block = 100 * (2 * 9 * 8 * 8)
    projected = 100 * (9 * 8 * 12 + 9 * 12 * 12)
    blocks = block + projected + 100 * (2 * 9 * 12 * 12)
    dense = 100 * (27 * 8 + 8 * 12) + 12 * 5 + 100 * (8 + 8 + 12)
    assert cost.macs() == dense + blocks
    assert cost.macs([0.5, 1.0, 1.0]) == cost.macs() - block // 2
    assert cost.macs(0.0) == dense


def test_a_gated_network_trains_and_can_be_copied() -> None:
    gated = copy.deepcopy(gate_network(NETWORKS["basic"]())).train()
    assert isinstance(gated, GatedNetwork)
    gated(torch.rand(2, 3, 8, 8), TopKGating(torch.full((3,), 0.5), noise=1.0)).sum().backward()
    assert gated.net.layer1[0].gate.weight.grad is not None
    with pytest.raises(ModelError, match="wrapper"):
        gated.net(torch.rand(1, 3, 8, 8))
