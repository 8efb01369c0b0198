"""The chain of `ops` as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from pag_ros.lab.bench.ops import Layer

Array = NDArray[np.float32]
_ACTIVATE = {"none": lambda y: y, "relu": F.relu, "relu6": F.relu6}


class TorchChain(nn.Module):
    """Convolutions one after another.

    Args:
        steps: of the chain, each the convolutions with weight [N,k,k,C] and bias [N].
        residual: the last convolution of a step adds the step's input before its activation.
    """

    def __init__(
        self, steps: Sequence[Sequence[tuple[Layer, Array, Array]]], residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.convolutions = nn.ModuleList(_convolution(*parts) for step in steps for parts in step)
        self.activations = [layer.activation for layer, _, _ in steps[0]]

    def forward(self, x: Tensor) -> Tensor:
        before, depth = x, len(self.activations)
        for number, conv in enumerate(self.convolutions):
            x = conv(x)
            if self.residual and number % depth == depth - 1:
                x = x + before
            x = _ACTIVATE[self.activations[number % depth]](x)
            if number % depth == depth - 1:
                before = x
        return x


def _convolution(layer: Layer, weight: Array, bias: Array) -> nn.Conv2d:
    groups = layer.outputs if layer.depthwise else 1
    conv = nn.Conv2d(
        layer.inputs, layer.outputs, layer.kernel, padding=layer.kernel // 2, groups=groups
    )
    conv.weight = nn.Parameter(torch.from_numpy(weight.transpose(0, 3, 1, 2).copy()))
    conv.bias = nn.Parameter(torch.from_numpy(bias))
    return conv
