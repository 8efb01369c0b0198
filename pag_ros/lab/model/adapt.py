"""PAG units for an existing network: its residual blocks become gated ones, weights and all.

Blocks are recognised by what they consist of, in torchvision's attribute names, and by what they
compute: a block is replaced only where the gated one gives the same result at every pixel.

    basic        conv1 3x3, bn1, relu, conv2 3x3, bn2, downsample or None
    bottleneck   conv1 1x1, bn1, conv2 3x3, bn2, conv3 1x1, bn3, relu, downsample or None
    MBConv       use_res_connect and a Sequential `conv` or `block`: 1x1, depthwise, 1x1, with or
                 without squeeze-and-excitation
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pag_ros.errors import ModelError
from pag_ros.lab.model.blocks import (
    MB_ACTIVATIONS,
    GatedBasicBlock,
    GatedBlock,
    GatedBottleneck,
    GatedMBConv,
    GateScope,
    MBActivation,
    SqueezeExcite,
)
from pag_ros.lab.model.cost import NetworkCost, count_macs
from pag_ros.lab.model.gating import DenseGating, Gating

_ACTIVATION_NAMES: dict[type[nn.Module], MBActivation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
}
_TOLERANCE = 1e-4
_PROBE_SIZE = 7


class GatedNetwork(nn.Module):
    """A network whose residual blocks obey a `Gating`; made by `gate_network`.

    Attributes:
        net: the network itself, with gated blocks in place of its own.
        gated: the gated blocks in the order of their slots.
        names: of these blocks in `net`.
        dense: name -> reason of the residual blocks that stay as they were.
    """

    def __init__(self, net: nn.Module, dense: dict[str, str]) -> None:
        super().__init__()
        self.net = net
        self.dense = dense
        found = {n: m for n, m in net.named_modules() if isinstance(m, GatedBlock)}
        self.names = tuple(found)
        self.gated = tuple(found.values())
        self._current = _CurrentGating()
        for slot, block in enumerate(self.gated):
            block.slot = slot
            block.register_forward_pre_hook(self._current)

    def forward(self, x: Tensor, gating: Gating) -> Any:
        """What `net(x)` gives, its gated blocks run by `gating`."""
        self._current.gating = gating
        try:
            return self.net(x)
        finally:
            self._current.gating = None

    def cost(self, image: Tensor) -> NetworkCost:
        """Multiply-adds for a picture of the size of `image` [1,3,H,W]."""
        probe = copy.deepcopy(self).eval()
        return count_macs(probe.net, lambda x: probe(x, DenseGating()), image, probe.gated)


def gate_network(net: nn.Module, gate_scope: GateScope = "branch") -> GatedNetwork:
    """A copy of `net` with PAG units in its residual blocks, for fine-tuning.

    With every pixel computed it gives what `net` gives (in evaluation mode: stochastic depth is
    left out of gated blocks). A block that changes the resolution stays dense.

    Args:
        net: see the module's docstring for the blocks that are known; on any device.
        gate_scope: of bottlenecks; others are always gated as a whole branch.

    Raises:
        ModelError: nothing in `net` can be gated; names each block that came near and says why.
    """
    net = copy.deepcopy(net)
    dense: dict[str, str] = {}
    replaced = False
    for name, module in list(_candidates(net)):
        try:
            gated = _gated(module, gate_scope)
        except _StaysDenseError as reason:
            dense[name] = str(reason)
            continue
        if name == "":
            return GatedNetwork(gated, dense)
        parent, _, attribute = name.rpartition(".")
        setattr(net.get_submodule(parent), attribute, gated)
        replaced = True
    if not replaced:
        near = "; ".join(f"{name or type(net).__name__}: {why}" for name, why in dense.items())
        raise ModelError(
            f"{type(net).__name__} has no residual block that can be gated ({near or 'none found'})"
        )
    return GatedNetwork(net, dense)


class _CurrentGating:
    """Adds the gating of the pass to a block's arguments: the network around knows of none."""

    def __init__(self) -> None:
        self.gating: Gating | None = None

    def __call__(self, block: nn.Module, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        if len(args) > 1:
            return args
        if self.gating is None:
            raise ModelError("a gated network is run through its wrapper: network(x, gating)")
        return (*args, self.gating)


class _StaysDenseError(Exception):
    """Why a block is left as it is."""


def _candidates(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in net.named_modules():
        plain = _has(module, "conv1", "bn1", "conv2", "bn2", "relu")
        inverted = _mb_sequence(module) is not None and hasattr(module, "use_res_connect")
        if inverted or (plain and hasattr(module, "downsample")):
            yield name, module


def _gated(module: nn.Module, scope: GateScope) -> GatedBlock:
    if _mb_sequence(module) is not None:
        gated: GatedBlock = _mb_block(module)
        low = -1.0
    else:
        gated = _bottleneck(module, scope) if _has(module, "conv3", "bn3") else _basic(module)
        low = 0.0  # These follow a ReLU.
    parameter = next(module.parameters())
    gated.to(parameter.device, parameter.dtype)
    _check_equal(module, gated, low, parameter)
    gated.train(module.training)
    return gated


def _basic(module: nn.Module) -> GatedBasicBlock:
    first, second = _conv(module, "conv1", 3), _conv(module, "conv2", 3)
    if first.dilation != second.dilation:
        raise _StaysDenseError("its two 3x3 have unequal dilations")
    shortcut = _shortcut(module)
    gated = GatedBasicBlock(
        second.out_channels, False, first.dilation[0], shortcut, first.in_channels
    )
    _take(gated, module, ("conv1", "bn1", "conv2", "bn2"))
    return gated


def _bottleneck(module: nn.Module, scope: GateScope) -> GatedBottleneck:
    first, middle, last = (_conv(module, f"conv{i}", k) for i, k in ((1, 1), (2, 3), (3, 1)))
    gated = GatedBottleneck(
        last.out_channels,
        middle.out_channels,
        scope,
        dilation=middle.dilation[0],
        shortcut=_shortcut(module),
        inputs=first.in_channels,
    )
    _take(gated, module, ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"))
    return gated


def _mb_block(module: nn.Module) -> GatedMBConv:
    if not module.use_res_connect:
        raise _StaysDenseError("changes stride or channels")
    sequence = _mb_sequence(module)
    assert sequence is not None
    squeezes = [_squeeze(part) for part in sequence if _has(part, "fc1", "fc2")]
    flat = [
        leaf
        for part in sequence
        if not _has(part, "fc1", "fc2")
        for leaf in part.modules()
        if not list(leaf.children())
    ]
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.Module] * 2 + [nn.Conv2d, nn.BatchNorm2d]
    if len(flat) != len(kinds) or not all(map(isinstance, flat, kinds)) or len(squeezes) > 1:
        raise _StaysDenseError("is no 1x1, depthwise, 1x1 with batch norms")
    expand, bn1, act1, depthwise, bn2, act2, project, bn3 = flat
    activation = _ACTIVATION_NAMES.get(type(act1))
    if activation is None or type(act1) is not type(act2):
        raise _StaysDenseError(f"its activation is none of {', '.join(MB_ACTIVATIONS)}")
    assert isinstance(expand, nn.Conv2d)
    assert isinstance(depthwise, nn.Conv2d)
    if depthwise.groups != depthwise.in_channels or depthwise.kernel_size not in ((3, 3), (5, 5)):
        raise _StaysDenseError("its middle is no depthwise 3x3 or 5x5")
    gated = GatedMBConv(
        expand.in_channels,
        activation=activation,
        kernel=depthwise.kernel_size[0],
        squeeze=squeezes[0] if squeezes else None,
    )
    gated.expand, gated.depthwise = expand, depthwise
    gated.bn1, gated.bn2, gated.bn3 = (_norm(norm) for norm in (bn1, bn2, bn3))
    assert isinstance(project, nn.Conv2d)
    gated.project = project
    return gated


def _squeeze(part: nn.Module) -> SqueezeExcite:
    if not _has(part, "fc1", "fc2", "activation", "scale_activation"):
        raise _StaysDenseError("its squeeze-and-excitation has another form than torchvision's")
    return SqueezeExcite(
        _conv(part, "fc1", 1),
        _conv(part, "fc2", 1),
        part.get_submodule("activation"),
        part.get_submodule("scale_activation"),
    )


def _take(gated: GatedBlock, module: nn.Module, names: tuple[str, ...]) -> None:
    """Put the module's own layers into the gated block, in place of its new ones."""
    for name in names:
        layer = module.get_submodule(name)
        setattr(gated, name, _norm(layer) if name.startswith("bn") else layer)


def _conv(module: nn.Module, name: str, kernel: int) -> nn.Conv2d:
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (kernel, kernel):
        raise _StaysDenseError(f"{name} is no {kernel}x{kernel} convolution")
    if layer.stride != (1, 1):
        raise _StaysDenseError(f"{name} has stride {layer.stride[0]}")
    if layer.groups != 1:
        raise _StaysDenseError(f"{name} has groups")
    return layer


def _norm(layer: nn.Module) -> nn.BatchNorm2d:
    if not isinstance(layer, nn.BatchNorm2d):
        raise _StaysDenseError(f"{type(layer).__name__} is no BatchNorm2d")
    return layer


def _shortcut(module: nn.Module) -> nn.Module | None:
    shortcut = module.downsample
    assert shortcut is None or isinstance(shortcut, nn.Module)
    return shortcut


def _mb_sequence(module: nn.Module) -> nn.Sequential | None:
    for name in ("conv", "block"):
        sequence = getattr(module, name, None)
        if isinstance(sequence, nn.Sequential):
            return sequence
    return None


def _has(module: nn.Module, *names: str) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Module) for name in names)


def _check_equal(module: nn.Module, gated: GatedBlock, low: float, like: Tensor) -> None:
    """Names say little of what `forward` does (another activation, an extra layer): compare."""
    generator = torch.Generator().manual_seed(0)
    size = (2, gated.channels, _PROBE_SIZE, _PROBE_SIZE)
    x = (low + (1.0 - low) * torch.rand(size, generator=generator)).to(like)
    with torch.no_grad():
        expected = _evaluated(module, lambda: module(x))
        actual = _evaluated(gated, lambda: gated(x, DenseGating()))
    if expected.shape != actual.shape or not torch.allclose(
        actual, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(expected.abs().max())
    ):
        raise _StaysDenseError("computes something else than its layers' names say")


def _evaluated(module: nn.Module, run: Callable[[], Tensor]) -> Tensor:
    """`run()` with the module in evaluation mode, which its parts leave again as they were."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        return run()
    finally:
        for part, mode in modes.items():
            part.training = mode
