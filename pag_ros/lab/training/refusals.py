"""Steps that cannot be taken: their gradients or statistics are infinite or NaN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pag_ros.errors import TrainingError
from pag_ros.lab.model.finite import find_non_finite

MAX_REFUSED_STEPS = 5
"""Steps in a row that overflow until training ends: one is bad luck, five are no training."""


def find_spoilt(network: nn.Module) -> list[str]:
    """The gradients and normalisation statistics that the last passes left not finite."""
    gradients = {
        f"the gradient of {name}": parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    return list(find_non_finite({**dict(network.named_buffers()), **gradients}))


class RefusedSteps:
    """Counts the steps that are taken back, and gives up where one follows the other."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def count(self, spoilt: Sequence[str], iteration: int) -> None:
        """Take note of a step.

        Args:
            spoilt: what of it is not finite, by `find_spoilt`; empty if the step is taken.
            iteration: its number, for the message.

        Raises:
            TrainingError: it is the last of `MAX_REFUSED_STEPS` refused ones in a row.
        """
        self._in_a_row = self._in_a_row + 1 if spoilt else 0
        if self._in_a_row >= MAX_REFUSED_STEPS:
            raise TrainingError(
                f"training stopped at iteration {iteration}: each of the last "
                f"{MAX_REFUSED_STEPS} steps made {spoilt[0]} infinite or NaN and was taken back; "
                "lower the learning rates, or look for values in the data that are no numbers"
            )
