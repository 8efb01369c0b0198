"""Which pixels a gated block computes: from the learned score to a mask.

The paper's gate (Kong & Fowlkes, WACV 2019) is a two-channel softmax. Only the difference of its
two logits matters, so a gate here gives one score per pixel, and softmax becomes a sigmoid.

A `Gating` decides how a network runs its gated blocks; every network takes one:

    DenseGating       every pixel, the plain network
    TopKGating        exactly k pixels, the highest scores; trains by straight-through
    GumbelGating      the paper's training: independent noisy decisions, rate held by a KL term
    ThresholdGating   the paper's inference: every pixel whose score is above zero
    SparseGating      exactly k pixels through the `pag` operators; what is exported
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from pag_ros.lab.model import operators

if TYPE_CHECKING:
    from pag_ros.lab.model.blocks import GatedBlock


_MIN_SPREAD = 1e-6
"""The least standard deviation that is assumed: scores that are all alike have none."""


class Gate(nn.Module):
    """A 1x1 convolution C -> 1 with bias: the score of every pixel, [B,C,H,W] -> [B,1,H,W].

    It starts open (positive bias), so that training begins from the dense network.
    """

    def __init__(self, channels: int, bias: float = 3.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(channels, 1))
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, x: Tensor) -> Tensor:
        return self.channels_last(x.permute(0, 2, 3, 1))[:, None]

    def channels_last(self, x: Tensor) -> Tensor:
        """The same on [B,H,W,C] -> [B,H,W]."""
        return (torch.matmul(x, self.weight) + self.bias)[..., 0]


class Gating(Protocol):
    """How gated blocks run. One object serves one forward pass through a network."""

    def run(self, block: GatedBlock, x: Tensor) -> Tensor:
        """Run `block` on x [B,C,H,W]."""
        ...


class DenseGating:
    """Every block computes every pixel."""

    def run(self, block: GatedBlock, x: Tensor) -> Tensor:
        return block.masked(x, torch.ones_like(x[:, :1]))


class MaskedGating(abc.ABC):
    """Runs blocks densely and multiplies by a mask.

    Attributes:
        masks: [B,1,H,W] of every gated block of the pass, in the order in which they ran.
        shapes_features: gradients pass through the gates into the features, as in the paper. By
            default gates learn from the features only: through a chain of straight-through gates
            that gradient grows from block to block, in some batches a thousandfold.
    """

    shapes_features = False

    def __init__(self) -> None:
        self.masks: list[Tensor] = []

    def run(self, block: GatedBlock, x: Tensor) -> Tensor:
        mask = self.mask(block.gate(x if self.shapes_features else x.detach()), block.slot)
        self.masks.append(mask)
        return block.masked(x, mask)

    @abc.abstractmethod
    def mask(self, score: Tensor, slot: int) -> Tensor:
        """score [B,1,H,W] of the block with that slot -> mask of equal shape, in [0, 1]."""

    def densities(self) -> list[float]:
        """Mean of every mask: the share of its pixels that each block computed."""
        return [float(mask.detach().float().mean()) for mask in self.masks]


class TopKGating(MaskedGating):
    """Exactly k pixels per block and image: those with the highest scores, ties to the lower index.

    The mask is binary in the forward pass; gradients flow through a sigmoid around the k-th score
    (straight-through). Masks are nested: a larger k only adds pixels.

    Only the order of the scores counts, so noise and sigmoid are as wide as the scores of the
    image are spread: in absolute terms a gate whose scores grow would soon learn nothing more.

    Args:
        density: [B,L] or [L] share of the pixels each block computes, 0 to 1.
        noise: scale of logistic noise on the scores while training, in standard deviations of
            the image's scores; 0 = deterministic.
        temperature: width of the sigmoid that carries the gradient, likewise.
    """

    def __init__(self, density: Tensor, noise: float = 0.0, temperature: float = 0.5) -> None:
        super().__init__()
        self.density = density if density.dim() == 2 else density[None]
        self.noise = noise
        self.temperature = temperature

    def mask(self, score: Tensor, slot: int) -> Tensor:
        batch, _, height, width = score.shape
        flat = score.flatten(1)
        spread = flat.detach().std(dim=1, keepdim=True, correction=0).clamp(min=_MIN_SPREAD)
        if self.noise > 0:
            flat = flat + self.noise * spread * logistic_noise(flat)
        keep = (self.density[:, slot] * (height * width)).round().long().expand(batch)
        order = flat.argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order)
        )
        hard = (rank < keep[:, None]).to(flat.dtype)
        last_kept = order.gather(1, (keep - 1).clamp(min=0)[:, None])
        soft = _sigmoid_of_count(flat, flat.gather(1, last_kept), self.temperature * spread)
        return (hard + (soft - soft.detach())).view_as(score)


def _sigmoid_of_count(flat: Tensor, threshold: Tensor, width: Tensor) -> Tensor:
    """sigmoid((flat - threshold) / width), with the gradient of a threshold that holds the count.

    The number of pixels is given, so what raises all scores alike changes nothing. Without that
    a gate would follow whatever all pixels have in common: "compute more" everywhere.

    Args:
        flat: [B,P] scores.
        threshold, width: [B,1].
    """
    weight = torch.sigmoid((flat - threshold) / width).detach()
    weight = weight * (1.0 - weight)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)
    moving = (weight * flat).sum(dim=1, keepdim=True)
    return torch.sigmoid((flat - moving + (moving - threshold).detach()) / width)


class GumbelGating(MaskedGating):
    """The paper's training mode: each pixel decides alone, by a Gumbel-softmax sample.

    Args:
        temperature: of the softmax; falls from 1 towards 0 during training.
    """

    shapes_features = True

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.probability: list[Tensor] = []

    def mask(self, score: Tensor, slot: int) -> Tensor:
        self.probability.append(score.sigmoid().mean())
        # The difference of two Gumbel samples is a logistic sample.
        return torch.sigmoid((score + logistic_noise(score)) / self.temperature)

    def budget_loss(self, rates: Sequence[float]) -> Tensor:
        """Sum over the gates of KL(Bern(rho) || Bern(m)), m = mean compute probability.

        Args:
            rates: rho of every gate, strictly between 0 and 1.
        """
        terms = [bernoulli_kl(rho, mean) for rho, mean in zip(rates, self.probability, strict=True)]
        return torch.stack(terms).sum()


class ThresholdGating(MaskedGating):
    """Noise-free inference of the paper: the pixels that are more likely computed than not."""

    def mask(self, score: Tensor, slot: int) -> Tensor:
        return (score > 0).to(score.dtype)


class SparseGating:
    """Runs blocks through the `pag` operators, as exported models do (batch of one).

    Args:
        keep: [L] int32, pixels per block.
        limits: [L,3] float32, see `operators.select`.
    """

    def __init__(self, keep: Tensor, limits: Tensor) -> None:
        self.keep = keep
        self.limits = limits
        self.index: list[Tensor] = []
        self.count: list[Tensor] = []

    def run(self, block: GatedBlock, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        score = block.gate.channels_last(channels_last)
        index, count = operators.select(
            score, self.keep[block.slot], self.limits[block.slot], f"block{block.slot}"
        )
        self.index.append(index)
        self.count.append(count)
        return block.sparse(channels_last, index, count).permute(0, 3, 1, 2)


def logistic_noise(like: Tensor) -> Tensor:
    """Standard logistic samples in the shape of `like`."""
    uniform = torch.rand_like(like, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
    return torch.logit(uniform).to(like.dtype)


def bernoulli_kl(rho: float, mean: Tensor) -> Tensor:
    """KL(Bern(rho) || Bern(mean)) in nats; rho strictly between 0 and 1."""
    mean = mean.clamp(1e-6, 1 - 1e-6)
    return rho * torch.log(rho / mean) + (1 - rho) * torch.log((1 - rho) / (1 - mean))
