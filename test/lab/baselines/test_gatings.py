"""What every baseline computes: exact counts, regular grids, no pixel that resumes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.baselines.filling import nearest_computed  # noqa: E402
from pag_ros.lab.baselines.halting import HaltingGating, running_shares  # noqa: E402
from pag_ros.lab.baselines.measured import (  # noqa: E402
    FilledPixelGating,
    FullGating,
    PixelGating,
)
from pag_ros.lab.baselines.perforation import (  # noqa: E402
    Patterns,
    PerforatedGating,
    grid_pattern,
    random_pattern,
)
from pag_ros.lab.baselines.skipping import BlockPolicy, LayerSkipGating  # noqa: E402
from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402
from pag_ros.lab.model.blocks import GatedBasicBlock  # noqa: E402

PIXELS = 16 * 12
BUDGETS = (0.7, 0.5, 0.3)


def run(network: PagNetwork, gating, images: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.rand(images, 3, 96, 128) * 255, gating)


def counts(gating) -> list[list[int]]:
    """Computed pixels of every block and image."""
    return [mask.flatten(1).sum(1).int().tolist() for mask in gating.masks]


@pytest.mark.parametrize("budget", BUDGETS)
def test_pixel_gating_and_perforation_compute_exact_counts(
    network: PagNetwork, budget: float
) -> None:
    kept = round(budget * PIXELS)
    for gating in (
        PixelGating(torch.full((4,), budget)),
        FilledPixelGating(torch.full((4,), budget)),
        PerforatedGating(Patterns("random", budget, 0), interpolate=False),
        PerforatedGating(Patterns("random", budget, 0), interpolate=True),
    ):
        run(network, gating)
        assert counts(gating) == [[kept] * 3] * 4


@pytest.mark.parametrize("interpolate", [False, True])
def test_with_every_pixel_computed_perforation_is_the_plain_network(
    network: PagNetwork, interpolate: bool
) -> None:
    plain = run(network, FullGating())
    for kind in ("random", "grid"):
        got = run(network, PerforatedGating(Patterns(kind, 1.0, 0), interpolate))
        for name, value in plain.items():
            assert torch.allclose(got[name], value, atol=1e-5), (kind, name)


def test_random_patterns_follow_the_seed_and_differ_between_blocks() -> None:
    one, same, other = (Patterns("random", 0.5, seed) for seed in (3, 3, 4))
    assert torch.equal(one.of(0, 12, 16)[0], same.of(0, 12, 16)[0])
    assert not torch.equal(one.of(0, 12, 16)[0], other.of(0, 12, 16)[0])
    assert not torch.equal(one.of(0, 12, 16)[0], one.of(1, 12, 16)[0])


@pytest.mark.parametrize("share", [*BUDGETS, 0.1, 0.9])
@pytest.mark.parametrize("phase", [0.0, 0.618, 0.99])
def test_grid_is_a_product_of_evenly_spaced_rows_and_columns(share: float, phase: float) -> None:
    grid = grid_pattern(15, 20, share, phase)
    rows, columns = grid.any(1), grid.any(0)
    assert torch.equal(grid, rows[:, None] & columns[None, :])
    assert abs(float(grid.float().mean()) - share) <= 0.01 + 1e-6
    for line in (rows, columns):
        places = line.nonzero()[:, 0]
        ends_joined = torch.cat([places, places[:1] + len(line)])
        gaps = ends_joined.diff()
        assert int(gaps.max() - gaps.min()) <= 1


def test_nearest_computed_pixel_is_its_own_or_the_closest() -> None:
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, 0] = mask[2, 3] = True
    nearest = nearest_computed(mask).view(3, 4)
    assert nearest.tolist() == [[0, 0, 0, 11], [0, 0, 11, 11], [0, 11, 11, 11]]
    assert nearest_computed(torch.zeros(1, 2, dtype=torch.bool)).tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["random", "grid"])
def test_interpolation_is_exact_where_the_residual_is_constant(kind: str) -> None:
    block = GatedBasicBlock(4).eval()
    block.slot = 0
    torch.nn.init.zeros_(block.conv1.weight)
    torch.nn.init.zeros_(block.conv2.weight)  # what is left is the norm's bias, everywhere
    with torch.no_grad():
        block.bn2.bias.copy_(torch.tensor([0.5, 1.0, 2.0, 0.25]))
    x = torch.rand(2, 4, 9, 11)
    plain = block(x, FullGating())
    gating = PerforatedGating(Patterns(kind, 0.3, 0), interpolate=True)
    assert torch.equal(block(x, gating), plain)
    skipped = PerforatedGating(Patterns(kind, 0.3, 0), interpolate=False)
    assert not torch.equal(block(x, skipped), plain)


def test_skipped_pixels_copy_the_nearest_of_their_own_image_and_the_gate_learns() -> None:
    torch.manual_seed(0)
    block = GatedBasicBlock(4).eval()
    block.slot = 0
    torch.nn.init.zeros_(block.conv1.weight)  # the inner map is constant: filling leaves it alone
    torch.nn.init.ones_(block.bn1.bias)
    torch.nn.init.normal_(block.gate.weight)
    x = torch.rand(2, 4, 5, 7)
    gating = FilledPixelGating(torch.tensor([0.4]))
    out = block(x, gating)
    masks = [mask[0] > 0.5 for mask in gating.masks[0]]
    assert not torch.equal(*masks)
    residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    for image, mask in enumerate(masks):
        copied = residual[image].flatten(1)[:, nearest_computed(mask)].view_as(residual[image])
        torch.testing.assert_close(out[image], torch.relu(x[image] + copied))
    out.sum().backward()
    assert block.gate.weight.grad.abs().sum() > 0.0


def test_computed_pixels_are_the_same_with_and_without_interpolation_of_what_follows() -> None:
    torch.manual_seed(0)
    block = GatedBasicBlock(4).eval()
    block.slot = 0
    torch.nn.init.zeros_(block.conv1.weight)  # the inner map is constant: filling it changes it
    x = torch.rand(1, 4, 9, 11)
    patterns = Patterns("grid", 0.5, 0)
    mask = patterns.of(0, 9, 11)[0]
    zeros = block(x, PerforatedGating(patterns, interpolate=False))
    filled = block(x, PerforatedGating(patterns, interpolate=True))
    assert torch.allclose(zeros[:, :, mask], filled[:, :, mask], atol=1e-6)


def test_interpolation_needs_basic_blocks() -> None:
    network = build_network(NetworkConfig(encoder="resnet50", heads=("depth",))).eval()
    with pytest.raises(ModelError, match="basic blocks"):
        run(network, PerforatedGating(Patterns("grid", 0.5, 0), interpolate=True), images=1)


@pytest.mark.parametrize("budget", BUDGETS)
def test_layer_skip_runs_whole_images_and_an_exact_number(
    network: PagNetwork, budget: float
) -> None:
    policy = BlockPolicy(8, 4)
    torch.nn.init.normal_(policy.linear.weight)
    gating = LayerSkipGating(policy, budget)
    run(network, gating, images=5)
    every = [count for block in counts(gating) for count in block]
    assert set(every) <= {0, PIXELS}
    assert sum(every) == PIXELS * round(budget * 5 * 4)


def test_layer_skip_decides_image_by_image() -> None:
    torch.manual_seed(0)
    policy = BlockPolicy(8, 4)
    torch.nn.init.normal_(policy.linear.weight, std=10.0)
    block = GatedBasicBlock(8)
    block.slot = 2
    gating = LayerSkipGating(policy, 0.5)
    mask = gating.mask(block, 10 * torch.rand(32, 8, 1, 1) * torch.ones(1, 1, 3, 4))
    assert 0 < float(mask[:, 0, 0, 0].detach().sum()) < 32


@pytest.mark.parametrize("budget", BUDGETS)
def test_halted_pixels_never_resume_and_the_budget_is_exact(
    network: PagNetwork, budget: float
) -> None:
    shares = running_shares([PIXELS] * 4, budget)
    gating = HaltingGating(shares)
    run(network, gating)
    for before, after in zip(gating.masks, gating.masks[1:], strict=False):
        assert bool((after <= before).all())
    total = [sum(block) for block in counts(gating)]
    assert total == [round(share * 3 * PIXELS) for share in shares]
    assert sum(total) / (3 * 4 * PIXELS) == pytest.approx(budget, abs=0.5 * 4 / (12 * PIXELS))


def test_pixels_that_gather_more_halting_score_halt_first() -> None:
    block = GatedBasicBlock(1)
    block.slot = 0
    with torch.no_grad():
        block.gate.weight.fill_(1.0)
    x = torch.tensor([[[[5.0, 0.0, 3.0, -5.0]]]])
    assert HaltingGating([0.5]).mask(block, x).flatten().tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_running_shares_fall_and_spend_the_budget(budget: float) -> None:
    costs = [4, 4, 4, 6, 4]
    shares = running_shares(costs, budget)
    assert all(low <= high for low, high in zip(shares[1:], shares, strict=False))
    assert max(shares) <= 1.0
    spent = sum(c * s for c, s in zip(costs, shares, strict=True)) / sum(costs)
    assert spent == pytest.approx(budget, abs=1e-6)


def test_halting_needs_blocks_of_one_size() -> None:
    network = build_network(NetworkConfig(encoder="resnet18", heads=("depth",), output_stride=16))
    shares = [0.5] * len(network.gated)
    with pytest.raises(ModelError, match="one size"):
        run(network.eval(), HaltingGating(shares), images=1)


def test_gradients_reach_what_decides(network: PagNetwork) -> None:
    policy = BlockPolicy(8, 4)
    x = torch.rand(2, 3, 96, 128) * 255
    network(x, LayerSkipGating(policy, 0.5))["depth"].sum().backward()
    assert float(policy.linear.weight.grad.abs().sum()) > 0
    network.zero_grad()
    network(x, HaltingGating(running_shares([1] * 4, 0.5)))["depth"].sum().backward()
    assert all(float(block.gate.weight.grad.abs().sum()) > 0 for block in network.gated[:2])
    network.zero_grad()


def test_random_pattern_holds_exactly_its_share() -> None:
    generator = torch.Generator().manual_seed(0)
    assert int(random_pattern(15, 20, 0.7, generator).sum()) == 210
