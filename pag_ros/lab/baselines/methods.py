"""The ways of spending less compute that are compared (gating.md, section 4), under one interface.

Each takes a copy of the starting network. A budget is the share of the gated blocks' multiply-adds.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pag_ros.errors import ParameterError
from pag_ros.lab.baselines.costs import NetworkCosts, network_costs
from pag_ros.lab.baselines.halting import HaltingGating, running_shares
from pag_ros.lab.baselines.measured import (
    FilledPixelGating,
    FullGating,
    MeasuredGating,
    PixelGating,
)
from pag_ros.lab.baselines.perforation import PatternKind, Patterns, PerforatedGating
from pag_ros.lab.baselines.skipping import BlockPolicy, LayerSkipGating
from pag_ros.lab.baselines.variants import (
    blocks_within,
    matching_size,
    truncated,
    without_multipool,
)
from pag_ros.lab.model import PagNetwork
from pag_ros.lab.training.modes import GATE_NOISE, mixed_densities

_DENSITY_MIN = 0.15
"""Smallest density that the network for every budget is trained for, as in `TrainConfig`."""


class Method(abc.ABC):
    """One way of spending less, at one budget.

    Args:
        network: to start from, in evaluation mode; it is left as it is.
        budget: in (0, 1].
        size: (width, height) of the pictures.
        seed: of patterns that are drawn once.

    Attributes:
        name: in file names and on the command line.
        every_budget: one training serves every budget.
        network: what is trained.
        extra: parameters of the method's own, trained with it; or None.
        size: (width, height) of the network's input.
        costs: of `network` at `size`.
        full: of the network to start from, at the pictures' size.
    """

    name: ClassVar[str]
    every_budget: ClassVar[bool] = False

    def __init__(
        self, network: PagNetwork, budget: float, size: tuple[int, int], seed: int
    ) -> None:
        self.network = copy.deepcopy(network)
        self.network.number_blocks()
        self.extra: nn.Module | None = None
        self.budget = budget
        self.size = size
        self.full = self.costs = network_costs(network, size)
        self._prepare(seed)

    @abc.abstractmethod
    def training(self, batch: int, noise: float) -> MeasuredGating:
        """How to run a batch of so many images while training; `noise`, 0 to 1, on decisions."""

    @abc.abstractmethod
    def inference(self, budget: float) -> MeasuredGating:
        """How to run a batch at a budget; another than its own only if `every_budget`."""

    def _prepare(self, seed: int) -> None:  # noqa: B027 - most have nothing to do
        """Change the network, make parameters or patterns."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


class Full(Method):
    """Everything everywhere: what the others are measured against."""

    name = "full"

    def training(self, batch: int, noise: float) -> MeasuredGating:
        return FullGating()

    def inference(self, budget: float) -> MeasuredGating:
        return FullGating()


class Pag(Method):
    """Ours: one network for every budget, each sample at densities of its own, as in `Trainer`."""

    name = "pag"
    every_budget = True
    _gating: ClassVar[type[PixelGating]] = PixelGating

    def training(self, batch: int, noise: float) -> MeasuredGating:
        blocks = len(self.network.gated)
        density = mixed_densities(batch, blocks, _DENSITY_MIN, self.device)
        return self._gating(density, GATE_NOISE * noise)

    def inference(self, budget: float) -> MeasuredGating:
        return self._gating(self._uniform(budget))

    def _uniform(self, budget: float) -> Tensor:
        return torch.full((len(self.network.gated),), budget, device=self.device)


class PagSpecialist(Pag):
    """Pixel-wise gating trained for one budget alone."""

    name = "pag_specialist"
    every_budget = False

    def training(self, batch: int, noise: float) -> MeasuredGating:
        return self._gating(self._uniform(self.budget), GATE_NOISE * noise)


class PagFilled(Pag):
    """Ours, and skipped pixels copy the nearest computed one: what the kernels do not do."""

    name = "pag_interpolated"
    _gating = FilledPixelGating


class PagPlain(Pag):
    """Ours with a plain 3x3 in the MultiPool's place: what picking a size per pixel is worth."""

    name = "pag_plain"

    def _prepare(self, seed: int) -> None:
        self.network = without_multipool(self.network)
        self.costs = network_costs(self.network, self.size)


class Truncated(Full):
    """The first blocks only, as many as cost most nearly the budget."""

    name = "truncated"

    def _prepare(self, seed: int) -> None:
        self.network = truncated(self.network, blocks_within(self.full.blocks, self.budget))
        self.costs = network_costs(self.network, self.size)


class SmallerInput(Full):
    """A smaller picture, at which the whole network costs what gating costs at the budget."""

    name = "smaller_input"

    def _prepare(self, seed: int) -> None:
        wanted = self.full.dense + self.full.gates + self.budget * self.full.gated
        self.size, self.costs = matching_size(self.network, self.size, wanted)


class LayerSkip(Method):
    """Whole blocks, chosen for each image."""

    name = "layer_skip"

    def _prepare(self, seed: int) -> None:
        gated = self.network.gated
        self.policy = BlockPolicy(gated[0].channels, len(gated))
        self.extra = self.policy

    def training(self, batch: int, noise: float) -> MeasuredGating:
        return LayerSkipGating(self.policy, self.budget, noise)

    def inference(self, budget: float) -> MeasuredGating:
        return LayerSkipGating(self.policy, self.budget)


class Halting(Method):
    """Pixels that halt and never resume."""

    name = "sact"

    def _prepare(self, seed: int) -> None:
        self._shares = running_shares(self.full.blocks, self.budget)

    def training(self, batch: int, noise: float) -> MeasuredGating:
        return HaltingGating(self._shares, noise)

    def inference(self, budget: float) -> MeasuredGating:
        return HaltingGating(self._shares)


class Perforated(Method):
    """A fixed pattern of pixels."""

    kind: ClassVar[PatternKind]
    interpolate: ClassVar[bool]

    def _prepare(self, seed: int) -> None:
        self._patterns = Patterns(self.kind, self.budget, seed)

    def training(self, batch: int, noise: float) -> MeasuredGating:
        return PerforatedGating(self._patterns, self.interpolate)

    def inference(self, budget: float) -> MeasuredGating:
        return PerforatedGating(self._patterns, self.interpolate)


class RandomPerforation(Perforated):
    name, kind, interpolate = "random", "random", False


class RandomPerforationFilled(Perforated):
    name, kind, interpolate = "random_interpolated", "random", True


class GridPerforation(Perforated):
    name, kind, interpolate = "grid", "grid", False


class GridPerforationFilled(Perforated):
    name, kind, interpolate = "grid_interpolated", "grid", True


METHODS: Mapping[str, type[Method]] = {
    method.name: method
    for method in (
        Full,
        Pag,
        PagSpecialist,
        PagPlain,
        PagFilled,
        Truncated,
        SmallerInput,
        LayerSkip,
        Halting,
        RandomPerforation,
        RandomPerforationFilled,
        GridPerforation,
        GridPerforationFilled,
    )
}
"""Name -> method; "full" first: all others are measured against it."""


def make_method(
    name: str, network: PagNetwork, budget: float, size: tuple[int, int], seed: int
) -> Method:
    """Prepare a method, see `Method`; deterministic by seed.

    Raises:
        ParameterError: no such method, or the budget is out of range.
        ModelError: the method does not fit this network.
    """
    if name not in METHODS:
        raise ParameterError(f"no method {name!r}; there are {', '.join(METHODS)}")
    if not 0.0 < budget <= 1.0:
        raise ParameterError(f"budget must lie in (0, 1], got {budget}")
    torch.manual_seed(seed)
    return METHODS[name](network, budget, size, seed)


def realised_budget(total: float, gates: float, interpolation: float, full: NetworkCosts) -> float:
    """The share of the full network's gated multiply-adds that a method really spends.

    What lies outside the gated blocks counts at full size, so that a smaller input's saving there
    shows as a smaller share, too; gates and interpolation do not count here.
    """
    return (total - gates - interpolation - full.dense) / full.gated
