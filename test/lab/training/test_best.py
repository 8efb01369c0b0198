"""What has validated best is kept, and survives a checkpoint."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from pag_ros.lab.training.best import Best  # noqa: E402


def network(value: float) -> nn.Module:
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, value)
    return module


def test_the_lowest_loss_wins_and_a_copy_is_kept() -> None:
    best, trained = Best(), network(1.0)
    assert best.offer(trained, 0.5)
    nn.init.constant_(trained.weight, 2.0)
    assert not best.offer(trained, 0.5)
    assert not best.offer(trained, math.nan)
    assert best.misses == 2
    best.restore_into(trained)
    assert trained.weight.item() == 1.0
    assert best.offer(network(3.0), 0.4)
    assert (best.loss, best.misses) == (0.4, 0)


def test_nothing_kept_changes_nothing() -> None:
    trained = network(1.0)
    Best().restore_into(trained)
    assert trained.weight.item() == 1.0


def test_it_goes_on_from_a_checkpoint() -> None:
    first, second = Best(), Best()
    first.offer(network(1.0), 0.5)
    first.offer(network(2.0), 0.6)
    second.load(first.state())
    assert (second.loss, second.misses) == (0.5, 1)
    trained = network(7.0)
    second.restore_into(trained)
    assert trained.weight.item() == 1.0
