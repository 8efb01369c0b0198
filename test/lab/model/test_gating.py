"""Gates: exact counts, nested masks, gradients, and the paper's losses."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.model.blocks import GatedBasicBlock  # noqa: E402
from pag_ros.lab.model.gating import (  # noqa: E402
    Gate,
    GumbelGating,
    ThresholdGating,
    TopKGating,
    bernoulli_kl,
)


@pytest.mark.parametrize("keep", [0, 1, 17, 63])
def test_top_k_keeps_an_exact_count(keep: int) -> None:
    mask = TopKGating(torch.tensor([keep / 63])).mask(torch.randn(2, 1, 7, 9), 0)
    assert mask.sum(dim=(1, 2, 3)).tolist() == [keep, keep]


def test_top_k_is_exact_among_equal_scores() -> None:
    mask = TopKGating(torch.tensor([10 / 63])).mask(torch.zeros(1, 1, 7, 9), 0)
    assert mask.flatten().nonzero().flatten().tolist() == list(range(10))


def test_a_larger_budget_only_adds_pixels() -> None:
    score = torch.randn(1, 1, 9, 9)
    small = TopKGating(torch.tensor([0.3])).mask(score, 0)
    large = TopKGating(torch.tensor([0.6])).mask(score, 0)
    assert bool((large >= small).all())


def test_every_sample_has_its_own_density() -> None:
    density = torch.tensor([[0.2, 1.0], [0.8, 0.5]])
    gating = TopKGating(density)
    counts = [gating.mask(torch.randn(2, 1, 10, 10), slot).sum(dim=(1, 2, 3)) for slot in (0, 1)]
    assert counts[0].tolist() == [20, 80]
    assert counts[1].tolist() == [100, 50]


def test_gradient_reaches_the_gate_through_the_binary_mask() -> None:
    gate = Gate(4)
    score = gate(torch.rand(1, 4, 6, 6))
    mask = TopKGating(torch.tensor([0.5])).mask(score, 0)
    (mask * torch.randn_like(mask)).sum().backward()
    assert gate.weight.grad is not None
    assert gate.weight.grad.abs().sum() > 0


def gradient_of_scores(score: torch.Tensor, worth: torch.Tensor) -> torch.Tensor:
    """Of the worth of what is kept at half the pixels."""
    leaf = score.clone().requires_grad_()
    (TopKGating(torch.tensor([0.5])).mask(leaf, 0) * worth).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


def test_large_scores_learn_as_well_as_small_ones() -> None:
    score, worth = torch.randn(1, 1, 6, 6), torch.randn(1, 1, 6, 6)
    small, large = gradient_of_scores(score, worth), gradient_of_scores(1000.0 * score, worth)
    assert torch.allclose(1000.0 * large, small, atol=1e-4)
    assert (small.abs() > 1e-3).float().mean() > 0.5


def test_what_raises_all_scores_alike_is_not_learned() -> None:
    """Pixels that are all worth computing: with a fixed count that says nothing."""
    score = torch.randn(1, 1, 6, 6)
    assert gradient_of_scores(score, torch.ones(1, 1, 6, 6)).abs().max() < 1e-6
    towards = gradient_of_scores(score, torch.randn(1, 1, 6, 6))
    assert float(towards.sum()) == pytest.approx(0.0, abs=1e-5)


def test_noise_is_relative_to_the_scores() -> None:
    masks = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        score = scale * torch.linspace(-1.0, 1.0, 100).view(1, 1, 10, 10)
        masks.append(TopKGating(torch.tensor([0.5]), noise=0.3).mask(score, 0))
    assert torch.equal(masks[0], masks[1])
    assert not bool((masks[0].flatten()[50:] == 1).all())


@pytest.mark.parametrize("gating", [TopKGating(torch.tensor([0.5])), GumbelGating(1.0)])
def test_only_the_papers_gates_shape_the_features_they_learn_from(
    gating: TopKGating | GumbelGating,
) -> None:
    block = GatedBasicBlock(4)
    block.gate.weight.data.normal_()
    x = torch.rand(1, 4, 6, 6, requires_grad=True)
    gating.run(block, x)
    (gating.masks[0] * torch.randn(1, 1, 6, 6)).sum().backward()
    assert block.gate.weight.grad is not None
    assert block.gate.weight.grad.abs().sum() > 0
    reached = x.grad is not None and bool(x.grad.any())
    assert reached == isinstance(gating, GumbelGating)


def test_gate_starts_open() -> None:
    assert bool((ThresholdGating().mask(Gate(8)(torch.rand(1, 8, 5, 5)), 0) == 1).all())


def test_gate_has_the_same_score_in_both_layouts() -> None:
    gate, x = Gate(5), torch.rand(1, 5, 3, 4)
    assert torch.allclose(gate(x)[:, 0], gate.channels_last(x.permute(0, 2, 3, 1)))


def test_gumbel_masks_follow_the_gates_probability() -> None:
    gating = GumbelGating(temperature=0.05)
    mask = gating.mask(torch.full((1, 1, 200, 200), math.log(0.7 / 0.3)), 0)
    assert float((mask > 0.5).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(gating.probability[0]) == pytest.approx(0.7, abs=1e-4)


def test_budget_loss_is_zero_at_the_rate_and_grows_away_from_it() -> None:
    assert float(bernoulli_kl(0.7, torch.tensor(0.7))) == pytest.approx(0.0, abs=1e-6)
    expected = 0.7 * math.log(0.7 / 0.5) + 0.3 * math.log(0.3 / 0.5)
    assert float(bernoulli_kl(0.7, torch.tensor(0.5))) == pytest.approx(expected, abs=1e-6)
