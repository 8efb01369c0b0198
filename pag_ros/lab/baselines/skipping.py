"""Skipping whole blocks, image by image.

After Wang et al., "SkipNet: Learning Dynamic Routing in Convolutional Networks", ECCV 2018. There a
gate before each block decides by itself, and a penalty holds the average. Here all blocks' gates
look at the pooled input of the first one, so that the budget can be held exactly: of a batch's
pairs of image and block, those with the highest scores run. Hence an image can get more blocks than
another, which a frame that comes alone cannot; this favours the method.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pag_ros.lab.baselines.measured import MeasuredGating, straight_through, top_share
from pag_ros.lab.model.blocks import GatedBlock
from pag_ros.lab.model.gating import logistic_noise


class BlockPolicy(nn.Module):
    """Scores every block for an image: features [B,C,H,W] -> mean over the pixels -> [B,L].

    Args:
        channels: of the first gated block's input.
        blocks: number of gated blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, blocks)
        # Distinct but nearly equal scores: which blocks matter is for the training to find out.
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(x.float().mean((2, 3)))
        return scores

    def macs(self, pixels: int) -> int:
        """Multiply-adds for an image, one for each value that is pooled."""
        return self.linear.in_features * pixels + self.linear.weight.numel()


class LayerSkipGating(MeasuredGating):
    """Runs round(budget * B * L) of a batch's pairs of image and block, each whole.

    Args:
        policy: scores the blocks.
        budget: share of the pairs to run, 0 to 1.
        noise: scale of logistic noise on the scores while training; 0 = deterministic.
    """

    def __init__(self, policy: BlockPolicy, budget: float, noise: float = 0.0) -> None:
        super().__init__()
        self._policy = policy
        self._budget = budget
        self._noise = noise
        self._runs = torch.empty(0)

    def mask(self, block: GatedBlock, x: Tensor) -> Tensor:
        if not self.masks:
            self._runs = self._decide(x)
        runs = self._runs[:, block.slot].view(-1, 1, 1, 1)
        return runs.to(x.dtype).expand(-1, 1, *x.shape[2:])

    def _decide(self, x: Tensor) -> Tensor:
        """[B,L], 0 or 1 in value."""
        self._spend_on_gates(self._policy.macs(x.shape[2] * x.shape[3]), len(x))
        score = self._policy(x)
        if self._noise > 0:
            score = score + self._noise * logistic_noise(score)
        hard, last = top_share(score.flatten().detach(), round(self._budget * score.numel()))
        return straight_through(hard.view_as(score), torch.sigmoid(score - last))
