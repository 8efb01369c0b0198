"""Steps that are no numbers: a single one is passed over, one after the other ends the run."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from pag_ros.errors import TrainingError  # noqa: E402
from pag_ros.lab.training.refusals import (  # noqa: E402
    MAX_REFUSED_STEPS,
    RefusedSteps,
    find_spoilt,
)


def test_gradients_and_statistics_are_looked_at_and_named() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    assert find_spoilt(network) == []
    network[0].weight.grad.fill_(torch.nan)
    network[1].running_var.fill_(torch.inf)
    assert find_spoilt(network) == ["1.running_var", "the gradient of 0.weight"]


def test_a_taken_step_starts_the_count_anew() -> None:
    refused = RefusedSteps()
    for _ in range(3):
        for iteration in range(MAX_REFUSED_STEPS - 1):
            refused.count(["the gradient of a"], iteration)
        refused.count([], MAX_REFUSED_STEPS)


def test_the_last_of_several_in_a_row_ends_the_run_and_says_what_was_wrong() -> None:
    refused = RefusedSteps()
    for iteration in range(1, MAX_REFUSED_STEPS):
        refused.count(["b.running_var"], iteration)
    with pytest.raises(TrainingError, match=r"iteration 5: .*5 steps made b\.running_var infinite"):
        refused.count(["b.running_var"], MAX_REFUSED_STEPS)
