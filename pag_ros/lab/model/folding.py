"""Batch norm folded into the convolution before it, in the layout of the `pag` operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def folded(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Weight [N,k,k,C] and bias [N] of a convolution followed by an evaluation-mode batch norm.

    Args:
        conv: a convolution without groups, or a depthwise one (C = 1).
        norm: its nn.BatchNorm2d; None or nn.Identity if there is none or it is folded already.
    """
    weight: Tensor = conv.weight
    bias = conv.bias
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    if bias is None:
        bias = torch.zeros(weight.shape[0], dtype=weight.dtype)
    return weight.permute(0, 2, 3, 1).contiguous(), bias
