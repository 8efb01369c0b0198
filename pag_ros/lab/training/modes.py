"""How the gates learn: one network for every budget, or the paper's specialist for one rate.

A mode plans a training step as a list of passes, and says how the result is validated.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pag_ros.errors import ParameterError
from pag_ros.lab.model.gating import GumbelGating, MaskedGating, ThresholdGating, TopKGating
from pag_ros.lab.training.config import TrainConfig

GATE_NOISE = 0.3
"""On a budget's gates, in standard deviations of the scores: so much that neighbours in rank change
places often, so little that the order as a whole stays."""


@dataclass(frozen=True)
class Pass:
    """One run of the network on the batch.

    Attributes:
        gating: how.
        student: learns from the outputs of the step's first pass instead of from the truth.
    """

    gating: MaskedGating
    student: bool = False


class Mode(abc.ABC):
    """Base of both modes.

    Args:
        config: of the run.
        blocks: number of gated blocks.
    """

    def __init__(self, config: TrainConfig, blocks: int) -> None:
        self.config = config
        self.blocks = blocks

    @abc.abstractmethod
    def passes(self, batch: int, progress: float, device: torch.device) -> list[Pass]:
        """The passes of one step.

        Args:
            batch: number of samples.
            progress: share of the run that is done, 0 to 1.
        """

    @abc.abstractmethod
    def validation(self, device: torch.device) -> dict[str, Callable[[], MaskedGating]]:
        """Name in the log -> maker of the gating of one frame."""

    @abc.abstractmethod
    def shipped(self, batch: int, device: torch.device) -> MaskedGating:
        """Noise-free, over all that the finished network is to serve: for its statistics."""

    ranks = False
    """Whether only the order of a gate's scores counts, so that their unit is free to choose."""

    def rate_loss(self, gating: MaskedGating) -> Tensor | None:
        """What holds the share of computed pixels, already weighted; None where nothing must."""
        return None


class BudgetMode(Mode):
    """Exact counts, straight-through gates, a random density for each sample and block.

    In the final share of the run there is no gate noise.
    """

    ranks = True

    def passes(self, batch: int, progress: float, device: torch.device) -> list[Pass]:
        noise = 0.0 if is_final(progress, self.config.final_share) else GATE_NOISE
        if not self.config.sandwich:
            return [Pass(TopKGating(self.densities(batch, device), noise))]
        full, smallest = (
            torch.full((batch, self.blocks), share, device=device)
            for share in (1.0, self.config.density_min)
        )
        others = [smallest, *(self._random(batch, device) for _ in range(2))]
        return [Pass(TopKGating(full, noise))] + [
            Pass(TopKGating(density, noise), student=True) for density in others
        ]

    def validation(self, device: torch.device) -> dict[str, Callable[[], MaskedGating]]:
        def at(share: float) -> Callable[[], MaskedGating]:
            return lambda: TopKGating(torch.full((self.blocks,), share, device=device))

        return {f"{share:.2f}": at(share) for share in (1.0, 0.5, 0.3)}

    def shipped(self, batch: int, device: torch.device) -> MaskedGating:
        return TopKGating(self.densities(batch, device))

    def densities(self, batch: int, device: torch.device) -> Tensor:
        """[batch, blocks], see `mixed_densities`."""
        return mixed_densities(batch, self.blocks, self.config.density_min, device)

    def _random(self, batch: int, device: torch.device) -> Tensor:
        return random_densities(batch, self.blocks, self.config.density_min, device)


class PaperMode(Mode):
    """Independent noisy decisions that cool down; KL(Bern(rho) || Bern(m)) for every gate.

    Validation decides by the sign of the score, so the density is the network's own.
    """

    def __init__(self, config: TrainConfig, blocks: int) -> None:
        super().__init__(config, blocks)
        rates = config.rho if isinstance(config.rho, tuple) else (config.rho,) * blocks
        if len(rates) != blocks:
            raise ParameterError(f"rho: {len(rates)} values for {blocks} gated blocks")
        self.rates = rates

    def passes(self, batch: int, progress: float, device: torch.device) -> list[Pass]:
        return [
            Pass(
                GumbelGating(
                    cooled(self.config.gate_temperature, progress, self.config.final_share)
                )
            )
        ]

    def validation(self, device: torch.device) -> dict[str, Callable[[], MaskedGating]]:
        return {"threshold": ThresholdGating}

    def shipped(self, batch: int, device: torch.device) -> MaskedGating:
        return ThresholdGating()

    def rate_loss(self, gating: MaskedGating) -> Tensor | None:
        assert isinstance(gating, GumbelGating)
        return self.config.rho_weight * gating.budget_loss(self.rates)


def mixed_densities(batch: int, blocks: int, low: float, device: torch.device) -> Tensor:
    """[batch, blocks] in `low` to 1: a fifth of the samples full, an eighth smallest, the rest
    `random_densities`."""
    density = random_densities(batch, blocks, low, device)
    kind = torch.rand(batch, 1, device=device)
    density = torch.where(kind < 0.2, torch.ones_like(density), density)
    return torch.where(kind > 0.875, torch.full_like(density, low), density)


def random_densities(batch: int, blocks: int, low: float, device: torch.device) -> Tensor:
    """[batch, blocks] in `low` to 1, each sample's around a random level of its own."""
    level = low + (1 - low) * torch.rand(batch, 1, device=device)
    jitter = 0.4 * (torch.rand(batch, blocks, device=device) - 0.5)
    return (level + jitter).clamp(low, 1.0)


def make_mode(config: TrainConfig, blocks: int) -> Mode:
    """The mode that `config.gating` names."""
    return PaperMode(config, blocks) if config.gating == "paper" else BudgetMode(config, blocks)


def is_final(progress: float, final_share: float) -> bool:
    """Whether this share of the run lies in its last part."""
    return progress >= 1.0 - final_share


def cooled(temperature: tuple[float, float], progress: float, final_share: float) -> float:
    """Return the temperature, which falls geometrically to its end where the last part begins."""
    start, end = temperature
    if is_final(progress, final_share):
        return end
    return float(start * (end / start) ** (progress / (1.0 - final_share)))
