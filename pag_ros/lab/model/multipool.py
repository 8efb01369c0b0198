"""MultiPool: every pixel picks its own pooling size (Kong & Fowlkes, WACV 2019, section 3.2).

A 3x3 convolution is replaced by seven candidates that share its weights: the identity and the 3x3
at dilations 1, 2, 4, 6, 8 and 10. A small head (1x1-128, 3x3-32, 1x1-7) chooses one per pixel, so
the cost stays that of one 3x3. In training the choice is a Gumbel-softmax mixture that cools down.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.lab.model import operators
from pag_ros.lab.model.folding import folded

DILATIONS = (0, 1, 2, 4, 6, 8, 10)
"""Candidate dilations; 0 is the identity."""


class MultiPool(nn.Module):
    """A drop-in for a 3x3 convolution with batch norm, C -> C.

    Attributes:
        temperature: of the Gumbel-softmax while training; evaluation takes the best candidate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.head1 = nn.Conv2d(channels, 128, 1)
        self.head2 = nn.Conv2d(128, 32, 3, padding=1)
        self.head3 = nn.Conv2d(32, len(DILATIONS), 1)
        self.temperature = 1.0

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B,C,H,W], mask [B,1,H,W] of the pixels that count -> [B,C,H,W]."""
        choice = self._choose(x, mask)
        identity, *shares = torch.split(choice, 1, dim=1)
        mixed = torch.zeros_like(x)
        for dilation, share in zip(DILATIONS[1:], shares, strict=True):
            y = F.conv2d(x, self.conv.weight, padding=dilation, dilation=dilation)
            mixed = mixed + share * y
        out: Tensor = identity * x + (1 - identity) * self.norm(mixed)
        return out

    def sparse(self, x: Tensor, index: Tensor, count: Tensor, base: Tensor | None) -> Tensor:
        """x [1,H,W,C] -> relu of the result at the listed pixels, `base` elsewhere: [1,H,W,C]."""
        logits = self._sparse_logits(x, index, count)
        steps = torch.tensor(DILATIONS, dtype=torch.int32)
        dilation_map = steps[logits.argmax(dim=-1).flatten()]
        weight, bias = folded(self.conv, self.norm)
        return operators.sparse_conv(
            x, index, count, weight, bias, base, dilation_map, activation="relu"
        )

    def macs_per_pixel(self) -> int:
        convs = (self.conv, self.head1, self.head2, self.head3)
        return sum(conv.weight.numel() for conv in convs)

    def _choose(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = mask * F.relu(self.head1(x))
        hidden = mask * F.relu(self.head2(hidden))
        logits: Tensor = self.head3(hidden)
        if self.training:
            return F.gumbel_softmax(logits, tau=self.temperature, dim=1)
        one_hot = F.one_hot(logits.argmax(dim=1), len(DILATIONS)).permute(0, 3, 1, 2)
        return one_hot.to(x.dtype)

    def _sparse_logits(self, x: Tensor, index: Tensor, count: Tensor) -> Tensor:
        for conv in (self.head1, self.head2, self.head3):
            weight, bias = folded(conv, None)
            activation: operators.Activation = "none" if conv is self.head3 else "relu"
            x = operators.sparse_conv(x, index, count, weight, bias, activation=activation)
        return x
