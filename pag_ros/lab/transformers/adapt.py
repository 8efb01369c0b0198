"""Gates for a vision transformer of your own: its blocks become gated ones, weights and all.

Blocks are recognised by what they consist of, and replaced only where the gated one computes the
same for every token:

    norm1, norm2      nn.LayerNorm
    attn.qkv, .proj   as timm and DINOv2 name them; or attention.q_proj, .k_proj, .v_proj and
                      .o_proj, as Hugging Face does; or attention.attention.query, .key, .value
                      and attention.output.dense, as it did before transformers 5
    mlp.fc1, .fc2     with a GELU between
    ls1, ls2          DINOv2's and timm's `gamma`, or layer_scale1, layer_scale2 with Hugging
                      Face's `lambda1`; or none
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pag_ros.errors import ModelError
from pag_ros.lab.transformers.vit import Block, VitConfig, best_tokens

_APART = {
    "attention": ("q_proj", "k_proj", "v_proj", "attention.o_proj"),
    "attention.attention": ("query", "key", "value", "attention.output.dense"),
}
"""Where queries, keys and values are products of their own: their names, that of the projection."""
_PROBE_TOKENS = 9
_TOLERANCE = 1e-4


class GatedTransformer(nn.Module):
    """A network whose blocks compute some of their tokens; made by `gate_transformer`.

    Attributes:
        net: the network itself, with gated blocks in place of its own.
        gated: the gated blocks in the order of their slots.
        dense: name -> reason of the blocks that stay as they were.
    """

    def __init__(self, net: nn.Module, gated: Sequence[GatedTokens], dense: dict[str, str]) -> None:
        super().__init__()
        self.net = net
        self.gated = tuple(gated)
        self.dense = dense

    def forward(self, *inputs: Any, keep: Sequence[int] | None = None, **named: Any) -> Any:
        """What `net` gives, with `keep` tokens computed in each block; None computes all.

        Raises:
            ModelError: `keep` is not one number for each gated block.
        """
        if keep is not None and len(keep) != len(self.gated):
            raise ModelError(f"keep has {len(keep)} numbers for {len(self.gated)} gated blocks")
        for slot, tokens in enumerate(self.gated):
            tokens.keep = None if keep is None else keep[slot]
        return self.net(*inputs, **named)


class GatedTokens(nn.Module):
    """Takes a block's place in a network that knows nothing of gates.

    Args:
        block: the gated one.
        free: tokens at the beginning that are always computed: the class token, registers.
        gives_tuple: the block in whose place it stands returned a tuple, as Hugging Face's do.
    """

    keep: int | None = None

    def __init__(self, block: Block, free: int, gives_tuple: bool) -> None:
        super().__init__()
        self.block = block
        self.free = free
        self.gives_tuple = gives_tuple

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor | tuple[Tensor]:
        """Tokens [B,T,C] -> the same; what else the network hands over is not used."""
        kept = None
        if self.keep is not None:
            count = min(self.keep, x.shape[1] - self.free)
            patches = x[:, self.free :]
            # Where they lie is not known here, so they have no neighbours to be like.
            score = self.block.gate(patches, torch.zeros_like(patches[..., 0]))
            kept = best_tokens(score, self.free, count)
        result: Tensor = self.block(x, kept)
        return (result,) if self.gives_tuple else result


def gate_transformer(net: nn.Module, free: int = 1) -> GatedTransformer:
    """A copy of `net` with gates in its transformer blocks, in evaluation mode.

    With every token kept it gives what `net` gives. The gates have learned nothing: their scores
    are small and random.

    Args:
        net: see the module's docstring for the blocks that are known.
        free: tokens before the patches, which are always computed: 1 for a class token, more with
            registers, 0 for none.

    Raises:
        ModelError: nothing in `net` can be gated; names what came near, and why it was left.
    """
    net = copy.deepcopy(net).eval()
    gated: list[GatedTokens] = []
    dense: dict[str, str] = {}
    for name, module in [*net.named_modules()]:
        if not (_part(module, "norm1") and _part(module, "norm2") and _part(module, "mlp.fc1")):
            continue
        try:
            tokens = _gated(module, len(gated), free)
        except _StaysDenseError as reason:
            dense[name] = str(reason)
            continue
        parent, _, attribute = name.rpartition(".")
        setattr(net.get_submodule(parent), attribute, tokens)
        gated.append(tokens)
    if not gated:
        near = "; ".join(f"{name}: {why}" for name, why in dense.items()) or "none found"
        raise ModelError(
            f"{type(net).__name__} has no transformer block that can be gated ({near})"
        )
    return GatedTransformer(net, gated, dense)


class _StaysDenseError(Exception):
    """Why a block is left as it is."""


def _gated(module: nn.Module, slot: int, free: int) -> GatedTokens:
    weight, bias, project, heads = _attention(module)
    width = project.out_features
    block = Block(VitConfig(width, 1, heads, ()), slot)
    block.norm1, block.norm2 = _norm(module, "norm1"), _norm(module, "norm2")
    block.attn.qkv.weight, block.attn.qkv.bias = nn.Parameter(weight), nn.Parameter(bias)
    block.attn.proj = project
    block.mlp.fc1, block.mlp.fc2 = _linear(module, "mlp.fc1"), _linear(module, "mlp.fc2")
    for ours, theirs in ((block.ls1, "ls1 layer_scale1"), (block.ls2, "ls2 layer_scale2")):
        ours.gamma = nn.Parameter(_scale(module, theirs.split(), width))
    nn.init.normal_(block.gate.weight, std=0.01)
    block.to(weight.device, weight.dtype).eval()
    return GatedTokens(block, free, _gives_tuple(module, block, width))


def _attention(module: nn.Module) -> tuple[Tensor, Tensor, nn.Linear, int]:
    """Weight and bias of queries, keys and values together, the projection, the heads."""
    weight: Tensor
    if _part(module, "attn.qkv"):
        joined, attention = _linear(module, "attn.qkv"), module.get_submodule("attn")
        weight, bias, project = joined.weight, _offset(joined), _linear(module, "attn.proj")
    else:
        owner = next((o for o, names in _APART.items() if _part(module, f"{o}.{names[0]}")), None)
        if owner is None:
            raise _StaysDenseError("it has neither attn.qkv nor queries, keys and values apart")
        attention, (*names, last) = module.get_submodule(owner), _APART[owner]
        parts = [_linear(attention, name) for name in names]
        weight = torch.cat([part.weight for part in parts])
        bias, project = torch.cat([_offset(part) for part in parts]), _linear(module, last)
    heads = getattr(attention, "num_heads", getattr(attention, "num_attention_heads", None))
    if not isinstance(heads, int) or weight.shape[0] != 3 * project.out_features:
        raise _StaysDenseError("its attention has no number of heads, or queries of another width")
    return weight.detach().clone(), bias.detach().clone(), project, heads


def _offset(layer: nn.Linear) -> Tensor:
    offset: Tensor | None = layer.bias
    return torch.zeros_like(layer.weight[:, 0]) if offset is None else offset


def _scale(module: nn.Module, names: Sequence[str], width: int) -> Tensor:
    for name in names:
        layer = _part(module, name)
        for attribute in ("gamma", "lambda1"):
            value = getattr(layer, attribute, None)
            if isinstance(value, Tensor):
                return value.detach().clone()
    return torch.ones(width)


def _part(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _linear(module: nn.Module, name: str) -> nn.Linear:
    layer = _part(module, name)
    if not isinstance(layer, nn.Linear):
        raise _StaysDenseError(f"{name} is no Linear")
    return layer


def _norm(module: nn.Module, name: str) -> nn.LayerNorm:
    layer = _part(module, name)
    if not isinstance(layer, nn.LayerNorm):
        raise _StaysDenseError(f"{name} is no LayerNorm")
    return layer


def _gives_tuple(module: nn.Module, block: Block, width: int) -> bool:
    """Whether the block's own class returns a tuple.

    Raises:
        _StaysDenseError: it computes something else than the gated one: names tell little of what
            `forward` does.
    """
    generator = torch.Generator().manual_seed(0)
    like = block.norm1.weight
    x = torch.randn(2, _PROBE_TOKENS, width, generator=generator).to(like)
    with torch.no_grad():
        given, actual = module(x), block(x, None)
    gives_tuple = isinstance(given, tuple)
    expected = given[0] if gives_tuple else given
    largest = float(expected.abs().max())
    if not torch.allclose(actual, expected, rtol=_TOLERANCE, atol=_TOLERANCE * largest):
        raise _StaysDenseError("computes something else than its layers' names say")
    return gives_tuple
