"""Gated residual blocks: what is computed at active pixels, and what a skipped pixel keeps.

Every block exists in two forms with equal results: `masked` (dense, differentiable, batched) and
`sparse` (through the `pag` operators, channels-last, batch of one).

    gate_scope "branch"    the whole residual branch runs at active pixels; an inactive neighbour
                           contributes zero to the inner 3x3; an inactive pixel is a pure copy, or
                           the projection's result where one is on the residual path
    gate_scope "conv3x3"   the paper's unit: only the 3x3 runs at active pixels, a skipped pixel
                           copies the 3x3's input through
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.model import operators
from pag_ros.lab.model.folding import folded
from pag_ros.lab.model.gating import Gate, Gating
from pag_ros.lab.model.multipool import MultiPool

GateScope = Literal["branch", "conv3x3"]

MBActivation = Literal["relu", "relu6", "silu", "hardswish"]
MB_ACTIVATIONS: dict[MBActivation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hardswish": F.hardswish,
}
"""Of MBConv blocks; all are 0 at 0, so that a skipped pixel stays out of what follows."""


class GatedBlock(nn.Module, abc.ABC):
    """A residual block with a gate.

    Args:
        channels: of the input.
        shortcut: a projection on the residual path, or None where the residual is the input itself.

    Attributes:
        slot: position among the gated blocks of its network: the entry of `keep` that it obeys.
    """

    def __init__(self, channels: int, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.gate = Gate(channels)
        self.slot = -1
        self.downsample = shortcut

    def forward(self, x: Tensor, gating: Gating) -> Tensor:
        """x [B,C,H,W] -> [B,N,H,W]. Both are >= 0 in blocks that end with a ReLU."""
        return gating.run(self, x)

    @abc.abstractmethod
    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B,C,H,W], mask [B,1,H,W] in [0, 1] -> [B,N,H,W]."""

    @abc.abstractmethod
    def sparse(self, x: Tensor, index: Tensor, count: Tensor) -> Tensor:
        """x [1,H,W,C], pixels from `operators.select` -> [1,H,W,N]. Evaluation mode only."""

    @abc.abstractmethod
    def macs_per_pixel(self) -> int:
        """Multiply-adds that one active pixel costs."""

    def dense_macs_per_pixel(self) -> int:
        """Multiply-adds that every pixel costs, active or not: at least the gate's."""
        projection = () if self.downsample is None else self.downsample.modules()
        convs = [module for module in projection if isinstance(module, nn.Conv2d)]
        return self.channels + sum(conv.weight.numel() for conv in convs)

    def macs_per_image(self) -> int:
        """Multiply-adds that an image costs whatever its size and density."""
        return 0

    def _residual(self, x: Tensor) -> Tensor:
        if self.downsample is None:
            return x
        projected: Tensor = self.downsample(x)
        return projected

    def _sparse_sum(
        self, conv: nn.Conv2d, norm: nn.Module, y: Tensor, x: Tensor, index: Tensor, count: Tensor
    ) -> Tensor:
        """relu(residual + the branch's last convolution), the latter at the listed pixels only."""
        if self.downsample is None:
            return _sparse(conv, norm, y, index, count, base=x, residual=True)
        base = self._residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        # A skipped pixel needs the ReLU as well, so it is no part of the sparse convolution.
        return F.relu(_sparse(conv, norm, y, index, count, base, True, activation="none"))


class GatedBasicBlock(GatedBlock):
    """Two 3x3 convolutions (ResNet-18's block), gated as a whole branch.

    Args:
        channels: of the output.
        multipool: the first 3x3 is a MultiPool.
        dilation: of both.
        shortcut: see `GatedBlock`.
        inputs: channels of the input, where there is a shortcut.
    """

    def __init__(
        self,
        channels: int,
        multipool: bool = False,
        dilation: int = 1,
        shortcut: nn.Module | None = None,
        inputs: int | None = None,
    ) -> None:
        super().__init__(inputs or channels, shortcut)
        if multipool:
            self.pool = MultiPool(channels)
        else:
            self.conv1 = _conv3x3(self.channels, channels, dilation)
            self.bn1 = nn.BatchNorm2d(channels)
        self.multipool = multipool
        self.conv2 = _conv3x3(channels, channels, dilation)
        self.bn2 = nn.BatchNorm2d(channels)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.pool(x, mask) if self.multipool else self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(mask * F.relu(h)))
        return F.relu(self._residual(x) + mask * y)

    def sparse(self, x: Tensor, index: Tensor, count: Tensor) -> Tensor:
        if self.multipool:
            h = self.pool.sparse(x, index, count, None)
        else:
            h = _sparse(self.conv1, self.bn1, x, index, count)
        return self._sparse_sum(self.conv2, self.bn2, h, x, index, count)

    def macs_per_pixel(self) -> int:
        first = self.pool.macs_per_pixel() if self.multipool else self.conv1.weight.numel()
        return first + self.conv2.weight.numel()


class GatedBottleneck(GatedBlock):
    """1x1 reduce, 3x3, 1x1 expand (ResNet-50's block), in either gate scope.

    Args:
        channels: of input and output.
        width: of the 3x3.
        scope: see the module's docstring.
        multipool: the 3x3 is a MultiPool.
        dilation: of the 3x3.
        shortcut: see `GatedBlock`.
        inputs: channels of the input, where there is a shortcut.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        scope: GateScope,
        multipool: bool = False,
        dilation: int = 1,
        shortcut: nn.Module | None = None,
        inputs: int | None = None,
    ) -> None:
        super().__init__(inputs or channels, shortcut)
        self.scope = scope
        self.multipool = multipool
        self.conv1 = nn.Conv2d(self.channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        if multipool:
            self.pool = MultiPool(width)
        else:
            self.conv2 = _conv3x3(width, width, dilation)
            self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        reduced = F.relu(self.bn1(self.conv1(x)))
        if self.scope == "branch":
            y = mask * F.relu(self._middle(mask * reduced, mask))
            return F.relu(self._residual(x) + mask * self.bn3(self.conv3(y)))
        everywhere = torch.ones_like(mask)
        y = (1 - mask) * reduced + mask * F.relu(self._middle(reduced, everywhere))
        return F.relu(self._residual(x) + self.bn3(self.conv3(y)))

    def sparse(self, x: Tensor, index: Tensor, count: Tensor) -> Tensor:
        if self.scope == "branch":
            reduced = _sparse(self.conv1, self.bn1, x, index, count)
            y = self._sparse_middle(reduced, index, count, base=None)
            return self._sparse_sum(self.conv3, self.bn3, y, x, index, count)
        first = x.permute(0, 3, 1, 2)
        reduced = F.relu(self.bn1(self.conv1(first))).permute(0, 2, 3, 1)
        y = self._sparse_middle(reduced, index, count, base=reduced).permute(0, 3, 1, 2)
        out = F.relu(self._residual(first) + self.bn3(self.conv3(y)))
        return out.permute(0, 2, 3, 1)

    def macs_per_pixel(self) -> int:
        middle = self.pool.macs_per_pixel() if self.multipool else self.conv2.weight.numel()
        if self.scope == "conv3x3":
            return middle
        return middle + self._pointwise_macs()

    def dense_macs_per_pixel(self) -> int:
        pointwise = self._pointwise_macs() if self.scope == "conv3x3" else 0
        return super().dense_macs_per_pixel() + pointwise

    def _pointwise_macs(self) -> int:
        return self.conv1.weight.numel() + self.conv3.weight.numel()

    def _middle(self, x: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.pool(x, mask) if self.multipool else self.bn2(self.conv2(x))
        return out

    def _sparse_middle(
        self, x: Tensor, index: Tensor, count: Tensor, base: Tensor | None
    ) -> Tensor:
        if self.multipool:
            return self.pool.sparse(x, index, count, base)
        return _sparse(self.conv2, self.bn2, x, index, count, base=base)


class GatedMBConv(GatedBlock):
    """1x1 expand, depthwise, 1x1 project (MobileNet's and EfficientNet's block), gated as a whole.

    The sum has no activation (Sandler et al., CVPR 2018), so a skipped pixel is a copy of any sign.

    Args:
        channels: of input and output.
        expand: channels between the two 1x1 over `channels`.
        kernel: of the depthwise convolution, 3 or 5.
        activation: after the first two convolutions; each leaves a zero a zero.
        squeeze: squeeze-and-excitation before the projection, or None.
    """

    def __init__(
        self,
        channels: int,
        expand: int = 6,
        kernel: int = 3,
        activation: MBActivation = "relu6",
        squeeze: SqueezeExcite | None = None,
    ) -> None:
        super().__init__(channels)
        hidden = expand * channels
        self.activation = activation
        self.expand = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(
            hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False
        )
        self.bn2 = nn.BatchNorm2d(hidden)
        self.squeeze = squeeze
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        activate = MB_ACTIVATIONS[self.activation]
        y = mask * activate(self.bn1(self.expand(x)))
        y = activate(self.bn2(self.depthwise(y)))
        if self.squeeze is not None:
            y = self.squeeze(mask * y, mask.sum((2, 3), keepdim=True))
        branch: Tensor = self.bn3(self.project(y))
        return x + mask * branch

    def sparse(self, x: Tensor, index: Tensor, count: Tensor) -> Tensor:
        y = self._sparse_hidden(self.expand, self.bn1, x, index, count)
        y = self._sparse_hidden(self.depthwise, self.bn2, y, index, count)
        if self.squeeze is not None:
            pixels = count.to(y.dtype).view(1, 1, 1, 1)
            y = self.squeeze(y.permute(0, 3, 1, 2), pixels).permute(0, 2, 3, 1)
        return _sparse(self.project, self.bn3, y, index, count, x, True, activation="none")

    def macs_per_pixel(self) -> int:
        convs = (self.expand, self.depthwise, self.project)
        return sum(conv.weight.numel() for conv in convs)

    def macs_per_image(self) -> int:
        return 0 if self.squeeze is None else self.squeeze.macs()

    def _sparse_hidden(
        self, conv: nn.Conv2d, norm: nn.Module, x: Tensor, index: Tensor, count: Tensor
    ) -> Tensor:
        if self.activation == "relu" or self.activation == "relu6":
            return _sparse(conv, norm, x, index, count, activation=self.activation)
        # The operator knows no other; at skipped pixels these leave its zeros alone.
        y = _sparse(conv, norm, x, index, count, activation="none")
        return MB_ACTIVATIONS[self.activation](y)


class SqueezeExcite(nn.Module):
    """Scales every channel by what its mean over the active pixels says (Hu et al., CVPR 2018).

    Args:
        reduce, expand: the two 1x1 convolutions.
        activation, scale: after the first and the second of them.
    """

    def __init__(
        self, reduce: nn.Conv2d, expand: nn.Conv2d, activation: nn.Module, scale: nn.Module
    ) -> None:
        super().__init__()
        self.reduce = reduce
        self.expand = expand
        self.activation = activation
        self.scale = scale

    def forward(self, x: Tensor, pixels: Tensor) -> Tensor:
        """x [B,C,H,W], zero at inactive pixels; their number [B or 1,1,1,1] -> [B,C,H,W]."""
        mean = x.sum((2, 3), keepdim=True) / pixels.clamp(min=1.0)
        out: Tensor = x * self.scale(self.expand(self.activation(self.reduce(mean))))
        return out

    def macs(self) -> int:
        return self.reduce.weight.numel() + self.expand.weight.numel()


def _conv3x3(inputs: int, outputs: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)


def _sparse(
    conv: nn.Conv2d,
    norm: nn.Module,
    x: Tensor,
    index: Tensor,
    count: Tensor,
    base: Tensor | None = None,
    residual: bool = False,
    activation: operators.Activation = "relu",
) -> Tensor:
    weight, bias = folded(conv, norm)
    return operators.sparse_conv(
        x,
        index,
        count,
        weight,
        bias,
        base,
        dilation=conv.dilation[0],
        activation=activation,
        residual=residual,
        depthwise=conv.groups > 1,
    )
