"""gate_transformer: blocks under the names of timm, DINOv2 and Hugging Face, gated in place.

The stand-ins have the published layers under the published names; the real ones of Hugging Face
are compared where transformers is installed.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import Tensor, nn  # noqa: E402

from pag_ros.errors import ModelError  # noqa: E402
from pag_ros.lab.transformers.adapt import GatedTransformer, gate_transformer  # noqa: E402

WIDTH, HEADS, TOKENS = 24, 3, 13


class FusedAttention(nn.Module):
    """timm's and DINOv2's."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.view(*x.shape[:2], HEADS, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, 2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Scale(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        setattr(self, name, nn.Parameter(torch.rand(WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        return x * getattr(self, self.name)


class TimmBlock(nn.Module):
    def __init__(self, scaled: bool, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attn = FusedAttention()
        self.mlp = Mlp(activation)
        self.ls1, self.ls2 = (Scale("gamma") if scaled else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class HuggingFaceBlock(nn.Module):
    """Of transformers 5, or with the names and the tuple of those before."""

    def __init__(self, old: bool) -> None:
        super().__init__()
        self.old = old
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-5) for _ in range(2))
        self.attention = nn.Module()
        inner = self.attention
        if old:
            inner.attention, inner.output = nn.Module(), nn.Module()
            inner.output.dense = nn.Linear(WIDTH, WIDTH)
            inner = inner.attention
        else:
            inner.o_proj = nn.Linear(WIDTH, WIDTH)
        self.names = ("query", "key", "value") if old else ("q_proj", "k_proj", "v_proj")
        for name in self.names:
            setattr(inner, name, nn.Linear(WIDTH, WIDTH))
        inner.num_attention_heads = HEADS
        self.mlp = Mlp()
        self.layer_scale1, self.layer_scale2 = Scale("lambda1"), Scale("lambda1")

    def forward(self, x: Tensor, head_mask: None = None) -> Tensor | tuple[Tensor]:
        source = self.norm1(x)
        inner = self.attention.attention if self.old else self.attention
        project = self.attention.output.dense if self.old else inner.o_proj
        query, key, value = (
            getattr(inner, name)(source).view(*x.shape[:2], HEADS, -1).transpose(1, 2)
            for name in self.names
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.layer_scale1(project(mixed))
        x = x + self.layer_scale2(self.mlp(self.norm2(x)))
        return (x,) if self.old else x


class Trunk(nn.Module):
    def __init__(self, *blocks: nn.Module, takes_first: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.takes_first = takes_first

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            result = block(x)
            assert isinstance(result, tuple) == self.takes_first
            x = result[0] if self.takes_first else result
        return x


TRUNKS = {
    "timm": lambda: Trunk(TimmBlock(False), TimmBlock(False)),
    "dinov2": lambda: Trunk(TimmBlock(True), TimmBlock(True)),
    "hugging face": lambda: Trunk(HuggingFaceBlock(False), HuggingFaceBlock(False)),
    "hugging face before 5": lambda: Trunk(
        HuggingFaceBlock(True), HuggingFaceBlock(True), takes_first=True
    ),
}


@pytest.fixture(params=TRUNKS)
def trunk(request: pytest.FixtureRequest) -> Trunk:
    torch.manual_seed(0)
    return TRUNKS[request.param]().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def test_with_all_tokens_it_gives_what_the_network_gives(trunk: Trunk, x: Tensor) -> None:
    gated = gate_transformer(trunk)
    assert len(gated.gated) == 2
    assert gated.dense == {}
    with torch.no_grad():
        expected = trunk(x)
        torch.testing.assert_close(gated(x), expected, rtol=1e-5, atol=1e-5)
        whole = gated(x, keep=[TOKENS - 1] * 2)
        torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)
        assert gated(x, keep=[99, 99]).shape == x.shape


def test_tokens_that_are_left_out_keep_their_value(trunk: Trunk, x: Tensor) -> None:
    gated = gate_transformer(trunk, free=2)
    with torch.no_grad():
        result = gated(x, keep=[3, 0])
    changed = (result != x).any(2)
    assert changed[:, :2].all()  # the free ones
    assert changed.sum(1).tolist() == [5, 5]


def test_the_network_itself_stays_as_it_was(trunk: Trunk, x: Tensor) -> None:
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    gated = gate_transformer(trunk)
    for parameter in gated.parameters():
        parameter.data.zero_()
    assert trunk.state_dict().keys() == before.keys()
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_gradient_reaches_every_layer(trunk: Trunk, x: Tensor) -> None:
    gated = gate_transformer(trunk)
    gated(x, keep=[4, 4]).square().sum().backward()
    missing = [n for n, p in gated.named_parameters() if p.grad is None]
    assert all(".gate." in name for name in missing)


def test_a_block_that_computes_something_else_stays_dense(x: Tensor) -> None:
    odd = Trunk(TimmBlock(True), TimmBlock(True, nn.ReLU)).eval()
    gated = gate_transformer(odd)
    assert isinstance(gated, GatedTransformer)
    assert list(gated.dense) == ["blocks.1"]
    assert "something else" in gated.dense["blocks.1"]
    torch.testing.assert_close(gated(x), odd(x), rtol=1e-5, atol=1e-5)


def test_a_network_without_blocks_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"no transformer block that can be gated \(none found\)"):
        gate_transformer(nn.Linear(3, 3))
    block = TimmBlock(False)
    block.attn = nn.Identity()
    with pytest.raises(ModelError, match=r"blocks\.0: it has neither attn\.qkv nor queries"):
        gate_transformer(Trunk(block))


def test_another_number_of_blocks_is_refused(trunk: Trunk, x: Tensor) -> None:
    with pytest.raises(ModelError, match="keep has 1 numbers for 2 gated blocks"):
        gate_transformer(trunk)(x, keep=[3])


def test_hugging_faces_own_classes() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS, image_size=56
    )
    torch.manual_seed(0)
    network = transformers.Dinov2Model(config).eval()
    gated = gate_transformer(network)
    assert len(gated.gated) == 2
    picture = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        expected = network(pixel_values=picture).last_hidden_state
        actual = gated(pixel_values=picture).last_hidden_state
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
        fewer = gated(pixel_values=picture, keep=[4, 4]).last_hidden_state
    assert fewer.shape == expected.shape
    assert not torch.allclose(fewer, expected)
