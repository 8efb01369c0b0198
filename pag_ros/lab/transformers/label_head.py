"""Labels from what a transformer knows already: a small head on the features of its depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FINER = 4
"""Labels are told so many times as finely, to both sides, as there are patches."""

_MIXED, _FINE = 192, 64


class LabelHead(nn.Module):
    """The features of four blocks to scores of classes.

    Args:
        channels: of all features together.
        classes: names of the class ids 0, 1, ...
        taught_on: what it has learned from, for people.
    """

    def __init__(self, channels: int, classes: Sequence[str], taught_on: str = "") -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.taught_on = taught_on
        # A few channels are a hundred times as large as the others: no learning rate suits both.
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.mix = nn.Conv2d(channels, _MIXED, 1)
        self.refine = nn.Conv2d(_MIXED, _FINE * FINER**2, 1)
        self.spread = nn.PixelShuffle(FINER)
        self.smooth = nn.Conv2d(_FINE, _FINE, 3, padding=1)
        self.decide = nn.Conv2d(_FINE, len(self.classes), 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """[B,C,h,w] of each block -> logits [B,K,4h,4w]."""
        x = self.mix(self.norm(torch.cat(list(features), 1))).relu()
        x = self.spread(self.refine(x)).relu()
        logits: Tensor = self.decide(self.smooth(x).relu())
        return logits
