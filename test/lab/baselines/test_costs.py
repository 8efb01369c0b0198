"""Multiply-adds of the baselines against a count by hand from their masks."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ModelError, ParameterError  # noqa: E402
from pag_ros.lab.baselines import METHODS, make_method, network_costs, spending  # noqa: E402
from pag_ros.lab.baselines.variants import (  # noqa: E402
    blocks_within,
    matching_size,
    truncated,
    without_multipool,
)
from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402
from pag_ros.lab.model.gating import DenseGating  # noqa: E402

SIZE = (128, 96)
PIXELS, CHANNELS, BLOCKS = 16 * 12, 8, 4
PLAIN = 2 * 9 * CHANNELS**2
"""Multiply-adds of a computed pixel in a block without MultiPool."""


def passed(name: str, network: PagNetwork, budget: float):
    """A method after one pass over two images: itself and its gating."""
    method = make_method(name, network, budget, SIZE, seed=0)
    gating = method.inference(budget)
    with torch.no_grad():
        method.network.eval()(torch.rand(2, 3, method.size[1], method.size[0]) * 255, gating)
    return method, gating


def test_costs_of_a_network_are_those_of_its_parts(network: PagNetwork) -> None:
    costs = network_costs(network, SIZE)
    assert costs.pixels == (PIXELS,) * BLOCKS
    multipool = PLAIN + CHANNELS * 128 + 128 * 32 * 9 + 32 * 7
    assert costs.macs_per_pixel == (PLAIN, PLAIN, multipool, PLAIN)
    assert costs.gates == BLOCKS * PIXELS * CHANNELS
    assert costs.gated == PIXELS * (3 * PLAIN + multipool)
    assert costs.dense > 0


def test_without_multipool_a_block_is_as_cheap_as_the_others(network: PagNetwork) -> None:
    method, _ = passed("pag_plain", network, 1.0)
    assert method.costs.macs_per_pixel == (PLAIN,) * BLOCKS
    image = torch.rand(1, 3, 96, 128) * 255
    pool = network.gated[2].pool
    torch.nn.init.zeros_(pool.head3.weight)
    pool.head3.bias.data = torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # dilation 1
    with torch.no_grad():
        pooled = network.eval()(image, DenseGating())
        plain = method.network(image, DenseGating())
    for name, value in pooled.items():
        assert torch.allclose(value, plain[name], atol=1e-5), name
    with pytest.raises(ModelError, match="no MultiPool"):
        without_multipool(method.network)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("budget", [0.7, 0.3])
def test_accounting_is_a_count_of_the_masks(name: str, budget: float, network: PagNetwork) -> None:
    method, gating = passed(name, network, budget)
    spent = spending(gating, method.costs)
    for image in range(2):
        by_hand = sum(
            int((mask[image] > 0.5).sum()) * block.macs_per_pixel()
            for mask, block in zip(gating.masks, method.network.gated, strict=True)
        )
        assert int(spent.gated.expand(2)[image]) == by_hand
    total = spent.dense + spent.gated + spent.gates + spent.interpolation
    assert torch.equal(spent.total, total)


def test_gates_cost_what_is_evaluated(network: PagNetwork) -> None:
    everywhere = BLOCKS * PIXELS * CHANNELS
    method, gating = passed("pag", network, 0.5)
    assert spending(gating, method.costs).gates.tolist() == [everywhere] * 2
    method, gating = passed("sact", network, 0.5)
    seen = [torch.full((2,), PIXELS), *(m.flatten(1).sum(1).long() for m in gating.masks[:-1])]
    assert torch.equal(spending(gating, method.costs).gates, CHANNELS * sum(seen))
    method, gating = passed("layer_skip", network, 0.5)
    pooled = CHANNELS * PIXELS + CHANNELS * BLOCKS
    assert spending(gating, method.costs).gates.tolist() == [pooled] * 2
    for name in ("full", "truncated", "smaller_input", "random", "grid"):
        method, gating = passed(name, network, 0.5)
        assert not spending(gating, method.costs).gates.any(), name


def test_interpolation_costs_one_for_each_value_filled_in(network: PagNetwork) -> None:
    skipped = BLOCKS * (PIXELS - round(0.5 * PIXELS))
    for name in ("random_interpolated", "pag_interpolated"):
        method, gating = passed(name, network, 0.5)
        spent = spending(gating, method.costs)
        assert spent.interpolation.tolist() == [2 * CHANNELS * skipped] * 2, name
    method, gating = passed("random", network, 0.5)
    assert not spending(gating, method.costs).interpolation.any()


def test_truncated_network_ends_earlier_and_shares_nothing(network: PagNetwork) -> None:
    shorter = truncated(network, 2)
    assert len(shorter.gated) == 2
    assert [block.slot for block in shorter.gated] == [0, 1]
    assert len(network.gated) == 4
    shorter.gated[0].conv1.weight.data.zero_()
    assert network.gated[0].conv1.weight.abs().sum() > 0
    with pytest.raises(ModelError, match="5 of 4"):
        truncated(network, 5)


def test_truncation_needs_a_trunk() -> None:
    with pytest.raises(ModelError, match="trunk"):
        truncated(build_network(NetworkConfig(encoder="resnet18", heads=("depth",))), 2)


@pytest.mark.parametrize(("budget", "blocks"), [(1.0, 4), (0.7, 3), (0.5, 2), (0.0, 0)])
def test_blocks_within_cost_most_nearly_the_budget(budget: float, blocks: int) -> None:
    assert blocks_within([10, 10, 12, 10], budget) == blocks


def test_smaller_input_matches_the_whole_networks_multiply_adds(network: PagNetwork) -> None:
    full = network_costs(network, SIZE)
    wanted = full.dense + 0.5 * full.gated
    size, costs = matching_size(network, SIZE, wanted)
    assert size[0] < SIZE[0]
    assert size[1] == pytest.approx(size[0] * 96 / 128, abs=0.5)
    assert costs.dense + costs.gated == pytest.approx(wanted, rel=0.06)
    assert matching_size(network, SIZE, full.dense + full.gated)[0] == SIZE


def test_unknown_methods_and_budgets_are_refused(network: PagNetwork) -> None:
    with pytest.raises(ParameterError, match="no method 'magic'"):
        make_method("magic", network, 0.5, SIZE, 0)
    with pytest.raises(ParameterError, match="budget"):
        make_method("pag", network, 0.0, SIZE, 0)
