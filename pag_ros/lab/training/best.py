"""The best weights that a run has had, by its validation."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn


class Best:
    """Keeps the weights whose validation loss was lowest.

    Attributes:
        loss: of these weights; infinite before the first validation.
        misses: validations in a row that were no better.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self._weights: dict[str, Tensor] = {}
        self.misses = 0

    def offer(self, network: nn.Module, loss: float) -> bool:
        """Keep a copy of the network's weights if its loss is a number, and the lowest so far."""
        if not is_better(loss, self.loss):
            self.misses += 1
            return False
        self.loss, self.misses = loss, 0
        self._weights = {name: value.clone() for name, value in network.state_dict().items()}
        return True

    def restore_into(self, network: nn.Module) -> None:
        """Give a network the weights that are kept; does nothing where there are none."""
        if self._weights:
            network.load_state_dict(self._weights)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"loss": self.loss, "weights": self._weights, "misses": self.misses}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.loss = float(state["loss"])
        self._weights = dict(state["weights"])
        self.misses = int(state["misses"])


def is_better(loss: float, than: float) -> bool:
    """Whether a loss is a number, and the lower one; any number is better than none."""
    return math.isfinite(loss) and not loss >= than
