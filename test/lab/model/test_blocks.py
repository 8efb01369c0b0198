"""A block's sparse form equals its masked form; skipped pixels keep what the scope promises."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from pag_ros.lab.model import operators  # noqa: E402
from pag_ros.lab.model.blocks import (  # noqa: E402
    GatedBasicBlock,
    GatedBlock,
    GatedBottleneck,
    GatedMBConv,
)
from pag_ros.lab.model.gating import DenseGating, SparseGating, TopKGating  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402

BUILDERS = {
    "basic": lambda: GatedBasicBlock(12),
    "basic dilated": lambda: GatedBasicBlock(12, dilation=3),
    "basic multipool": lambda: GatedBasicBlock(12, multipool=True),
    "bottleneck branch": lambda: GatedBottleneck(12, 6, "branch"),
    "bottleneck branch multipool": lambda: GatedBottleneck(12, 6, "branch", multipool=True),
    "basic projected": lambda: GatedBasicBlock(8, shortcut=nn.Conv2d(12, 8, 1), inputs=12),
    "bottleneck branch projected": lambda: GatedBottleneck(
        16, 6, "branch", shortcut=nn.Conv2d(12, 16, 1), inputs=12
    ),
    "bottleneck conv3x3 projected": lambda: GatedBottleneck(
        16, 6, "conv3x3", shortcut=nn.Conv2d(12, 16, 1), inputs=12
    ),
    "mbconv": lambda: GatedMBConv(12),
    "mbconv 5x5": lambda: GatedMBConv(12, expand=3, kernel=5),
    "bottleneck conv3x3": lambda: GatedBottleneck(12, 6, "conv3x3"),
    "bottleneck conv3x3 multipool": lambda: GatedBottleneck(12, 6, "conv3x3", multipool=True),
}


def lively(block: GatedBlock) -> GatedBlock:
    """Random statistics and gate, so that folding and selection have something to get wrong."""
    block.slot = 0
    nn.init.normal_(block.gate.weight)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return block.eval()


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("density", [0.0, 1 / 63, 0.3, 0.7, 1.0])
def test_sparse_form_equals_masked_form(name: str, density: float) -> None:
    block = lively(BUILDERS[name]())
    x = torch.rand(1, 12, 7, 9)
    with torch.no_grad():
        masked = block(x, TopKGating(torch.tensor([density])))
        keep = torch.tensor([round(density * 63)], dtype=torch.int32)
        sparse = block(x, SparseGating(keep, no_limits(1)))
    assert torch.allclose(masked, sparse, atol=2e-5)


@pytest.mark.parametrize(
    "name", [n for n in BUILDERS if not n.endswith("projected") and "conv3x3" not in n]
)
def test_branch_scope_copies_skipped_pixels(name: str) -> None:
    block = lively(BUILDERS[name]())
    x = torch.randn(2, 12, 7, 9) if "mbconv" in name else torch.rand(2, 12, 7, 9)
    gating = TopKGating(torch.tensor([0.4]))
    with torch.no_grad():
        y = block(x, gating)
    skipped = (gating.masks[0] < 0.5).expand_as(x)
    assert torch.equal(y[skipped], x[skipped])
    assert not torch.allclose(y[~skipped], x[~skipped])


def test_conv3x3_scope_matches_the_papers_formula() -> None:
    block = lively(GatedBottleneck(12, 6, "conv3x3"))
    x = torch.rand(1, 12, 7, 9)
    gating = TopKGating(torch.tensor([0.5]))
    with torch.no_grad():
        out = block(x, gating)
        g = gating.masks[0]
        big_x = torch.relu(block.bn1(block.conv1(x)))
        y = torch.relu(block.bn2(block.conv2(big_x)))
        expected = torch.relu(x + block.bn3(block.conv3((1 - g) * big_x + g * y)))
    assert torch.allclose(out, expected, atol=1e-6)


def test_all_pixels_open_is_the_plain_residual_block() -> None:
    block = lively(GatedBasicBlock(12))
    x = torch.rand(1, 12, 7, 9)
    with torch.no_grad():
        plain = torch.relu(x + block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))
        assert torch.allclose(block(x, DenseGating()), plain, atol=1e-6)


@pytest.mark.parametrize("name", ["basic projected", "bottleneck branch projected"])
def test_a_skipped_pixel_is_the_projection_where_there_is_one(name: str) -> None:
    block = lively(BUILDERS[name]())
    x = torch.rand(1, 12, 7, 9)
    gating = TopKGating(torch.tensor([0.4]))
    with torch.no_grad():
        y = block(x, gating)
        projected = torch.relu(block.downsample(x))
    skipped = (gating.masks[0] < 0.5).expand_as(y)
    assert torch.equal(y[skipped], projected[skipped])
    assert not torch.allclose(y[~skipped], projected[~skipped])


def test_a_projection_costs_every_pixel() -> None:
    plain, projected = GatedBasicBlock(8, inputs=12), BUILDERS["basic projected"]()
    assert projected.macs_per_pixel() == plain.macs_per_pixel()
    assert projected.dense_macs_per_pixel() == plain.dense_macs_per_pixel() + 8 * 12


def test_select_lists_the_best_pixels_in_order_and_breaks_ties_downwards() -> None:
    score = torch.tensor([[[1.0, 5.0, 5.0], [0.0, 5.0, 9.0]]])
    index, count = operators.select(score, torch.tensor(3), no_limits(1)[0], "block0")
    assert count.tolist() == [3]
    assert index[:3].tolist() == [1, 2, 5]


def test_select_leaves_out_scores_that_are_not_above_the_threshold() -> None:
    score = torch.tensor([[[1.0, 5.0, 5.0], [0.0, 7.0, 9.0]]])
    limits = torch.tensor([0.0, 0.0, 5.0])
    index, count = operators.select(score, torch.tensor(4), limits, "block0")
    assert count.tolist() == [2]
    assert index[:2].tolist() == [4, 5]
