"""ResNet-18 and ResNet-50 with a gate in every residual block: the paper's own form.

Parameter names are torchvision's, so that a user's torchvision weights load. Stages 3 and 4 are
dilated where `output_stride` asks for it (the paper: 8). Sources: He et al., CVPR 2016; Kong &
Fowlkes, WACV 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.errors import ModelError
from pag_ros.lab.model.blocks import GatedBasicBlock, GatedBlock, GatedBottleneck, GateScope
from pag_ros.lab.model.gating import Gate, Gating
from pag_ros.lab.model.multipool import MultiPool
from pag_ros.lab.model.pretrained import read_state

_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)


class GatedResNet(nn.Module):
    """Image -> features at strides 2 and 4 and of the last stage.

    Args:
        layers: 18 (basic blocks, scope "branch" only) or 50 (bottlenecks, either scope).
        gate_scope: see `blocks`. A block that changes the stride stays dense.
        output_stride: 8, 16 or 32.
        multipool: one block of the last stage (the second) uses MultiPool.

    Attributes:
        channels: of the features that `forward` returns.
        strides: their strides.
    """

    def __init__(
        self,
        layers: Literal[18, 50] = 50,
        gate_scope: GateScope = "branch",
        output_stride: int = 8,
        multipool: bool = True,
    ) -> None:
        super().__init__()
        if layers == 18 and gate_scope == "conv3x3":
            raise ValueError(
                "gate_scope conv3x3 is the bottleneck's; ResNet-18 has none: use branch"
            )
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs, stride = 64, 4
        for stage, (depth, width) in enumerate(zip(_DEPTHS[layers], _WIDTHS, strict=True), 1):
            shrink = stage > 1 and stride < output_stride
            stride *= 2 if shrink else 1
            builder = _StageBuilder(
                layers,
                gate_scope,
                width,
                dilation=2 ** (stage + 1) // stride,
                multipool=multipool and stage == 4,
            )
            setattr(self, f"layer{stage}", builder.build(inputs, depth, 2 if shrink else 1))
            inputs = builder.channels
        self.channels = (64, inputs)
        self.strides = (2, stride)

    def forward(self, x: Tensor, gating: Gating) -> tuple[Tensor, ...]:
        """x: [B,3,H,W] RGB 0-255 -> features [B,64,H/2,W/2] and [B,C,H/s,W/s]."""
        mean, std = x.new_tensor(_MEAN), x.new_tensor(_STD)
        stem = F.relu(self.bn1(self.conv1((x - mean[:, None, None]) / std[:, None, None])))
        y = F.max_pool2d(stem, 3, 2, 1)
        for stage in range(1, 5):
            for block in self.get_submodule(f"layer{stage}").children():
                y = block(y, gating) if isinstance(block, GatedBlock) else block(y)
        return stem, y

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` stages (at most all) as they are, but for gates."""
        stages = range(1, 1 + min(blocks, len(_WIDTHS)))
        names = ["conv1", "bn1", *(f"layer{stage}" for stage in stages)]
        for name in names:
            self.get_submodule(name).requires_grad_(False)
        # No published weights have gates: frozen ones would stay random.
        for parameter in new_parameters(self):
            parameter.requires_grad_(True)

    def load_pretrained(self, path: Path) -> None:
        """Load torchvision's ImageNet weights (.pth or .safetensors).

        What torchvision does not have stays new: gates and a MultiPool's head.

        Raises:
            ModelError: the file is missing or holds another network.
        """
        state = read_state(path)
        own = self.state_dict()
        named = {_own_name(key, own): value for key, value in state.items()}
        known = {key: value for key, value in named.items() if key in own}
        missing = [key for key in own if key not in known and not _may_lack(key)]
        try:
            if missing:
                raise ValueError(f"lacks {missing[0]}")
            self.load_state_dict({**own, **known})
        except (RuntimeError, ValueError) as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
            raise ModelError(
                f"{path}: not torchvision weights of this ResNet ({reason})"
            ) from error


class DenseBasicBlock(nn.Module):
    """ResNet-18's block that halves the resolution: never gated."""

    def __init__(self, inputs: int, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, 2, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _projection(inputs, channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + y)


class DenseBottleneck(nn.Module):
    """ResNet-50's block that halves the resolution: never gated."""

    def __init__(self, inputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 2, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _projection(inputs, 4 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class _StageBuilder:
    """Builds one stage: an opening block, then gated blocks of equal shape."""

    def __init__(
        self, layers: int, scope: GateScope, width: int, dilation: int, multipool: bool
    ) -> None:
        self.basic = layers == 18
        self.scope = scope
        self.width = width
        self.channels = width if self.basic else 4 * width
        self.dilation = dilation
        self.multipool = multipool

    def build(self, inputs: int, depth: int, stride: int) -> nn.ModuleList:
        first = self._opening(inputs, stride)
        return nn.ModuleList(
            [first, *(self._gated(self.multipool and i == 1) for i in range(1, depth))]
        )

    def _opening(self, inputs: int, stride: int) -> nn.Module:
        if inputs == self.channels and stride == 1:
            return self._gated(multipool=False)
        # A stage that is dilated instead of strided opens with half of its own dilation.
        dilation = self.dilation if stride == 2 else max(1, self.dilation // 2)
        if stride == 2 and self.basic:
            return DenseBasicBlock(inputs, self.channels, dilation)
        if stride == 2:
            return DenseBottleneck(inputs, self.width, dilation)
        shortcut = _projection(inputs, self.channels, 1)
        if self.basic:
            return GatedBasicBlock(self.channels, False, dilation, shortcut, inputs)
        return GatedBottleneck(
            self.channels, self.width, self.scope, False, dilation, shortcut, inputs
        )

    def _gated(self, multipool: bool) -> GatedBlock:
        if self.basic:
            return GatedBasicBlock(self.channels, multipool, self.dilation)
        return GatedBottleneck(self.channels, self.width, self.scope, multipool, self.dilation)


def new_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What no published weights hold: the parameters of gates and of MultiPools' heads."""
    found: list[nn.Parameter] = []
    for part in module.modules():
        if isinstance(part, Gate):
            found += part.parameters()
        elif isinstance(part, MultiPool):
            for head in (part.head1, part.head2, part.head3):
                found += head.parameters()
    return found


def _may_lack(key: str) -> bool:
    """Weights older than PyTorch 0.4.1 do not count batches; the count is used nowhere here."""
    return ".gate." in key or ".head" in key or key.endswith(".num_batches_tracked")


def _own_name(key: str, own: Mapping[str, Tensor]) -> str:
    """torchvision's name of a parameter -> ours: a MultiPool keeps the weights of its 3x3."""
    if key in own:
        return key
    block, _, name = key.rpartition(".")
    for theirs, ours in (("conv1", "conv"), ("conv2", "conv"), ("bn1", "norm"), ("bn2", "norm")):
        pooled = f"{block.removesuffix(theirs)}pool.{ours}.{name}"
        if block.endswith(theirs) and pooled in own:
            return pooled
    return key


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
