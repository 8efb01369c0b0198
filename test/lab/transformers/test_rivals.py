"""Other ways to spend less cost what the gates cost, and give all at the full budget."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.transformers.rivals import (  # noqa: E402
    gated_macs,
    merged_features,
    merged_per_block,
    merging_macs,
    rivals,
    truncated_blocks,
)
from pag_ros.lab.transformers.vit import Vit, VitConfig  # noqa: E402

TRUNK = VitConfig(48, 4, 3, (0, 1, 2, 3), registers=2, grid=5)
PATCHES, TOKENS = (6, 8), 6 * 8 + 1 + 2


@pytest.fixture(scope="module")
def trunk() -> Vit:
    torch.manual_seed(0)
    trunk = Vit(TRUNK)
    for parameter in trunk.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.1
    return trunk.eval()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, 84, 112, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_at_the_full_budget_all_are_the_network(trunk: Vit, image: torch.Tensor) -> None:
    whole = trunk(image)
    for name, features in rivals(trunk, 1.0, PATCHES).items():
        for one, other in zip(features(image), whole, strict=True):
            torch.testing.assert_close(one, other, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("budget", [0.7, 0.3])
def test_below_it_none_is(trunk: Vit, image: torch.Tensor, budget: float) -> None:
    whole = trunk(image)
    for name, features in rivals(trunk, budget, PATCHES).items():
        less = features(image)
        assert [f.shape for f in less] == [(1, 48, 6, 8)] * 4
        assert not torch.allclose(less[3], whole[3]), name


def test_they_cost_what_the_gates_cost_at_most() -> None:
    whole = gated_macs(TRUNK, TOKENS, 48)
    # Twelve products of 48 x 48 a token, and each token with all others, twice.
    assert whole == 4 * TOKENS * (12 * 48**2 + 2 * TOKENS * 48)
    assert merging_macs(TRUNK, TOKENS, 0) == whole
    for count in (10, 24, 40):
        macs = gated_macs(TRUNK, TOKENS, count)
        always = 2 * TOKENS * 48**2
        each = 10 * 48**2 + 2 * TOKENS * 48
        assert macs == 4 * (always + (3 + count) * each)
        blocks, part = truncated_blocks(TRUNK, TOKENS, macs)
        spent = blocks * whole // 4 + (always + (3 + part) * each if part else 0)
        assert macs - whole / 4 < spent <= macs
        merged = merged_per_block(TRUNK, TOKENS, macs)
        assert merging_macs(TRUNK, TOKENS, merged) <= macs
        assert merging_macs(TRUNK, TOKENS, merged - 1) > macs


@torch.no_grad()
def test_merging_joins_tokens_that_are_alike(trunk: Vit) -> None:
    """A picture of two halves, and positions all alike: to join within a half changes nothing."""
    trunk.pos_embed.data *= 0.0
    image = torch.zeros(1, 3, 84, 112)
    image[..., 56:] = 1.0
    for one, other in zip(merged_features(trunk, image, 10), trunk(image), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_each_block_computes_as_many_tokens_in_other_places(
    trunk: Vit, image: torch.Tensor
) -> None:
    kept: dict[str, list[set[int]]] = {}
    for name in ("random tokens", "grid tokens"):
        seen: list[set[int]] = []
        hooks = [
            block.register_forward_hook(
                lambda _, args, __, seen=seen: seen.append(set(args[1][0].tolist()))
            )
            for block in trunk.gated
        ]
        rivals(trunk, 0.5, PATCHES)[name](image)
        for hook in hooks:
            hook.remove()
        kept[name] = seen
        assert [len(tokens) for tokens in seen] == [24 + 3] * 4
        assert all({0, 1, 2} <= tokens for tokens in seen)
        assert len({frozenset(tokens) for tokens in seen}) == 4
    for tokens in kept["grid tokens"]:
        rows = [sum((t - 3) // 8 == row for t in tokens if t >= 3) for row in range(6)]
        assert max(rows) - min(rows) <= 2
