"""What is computed from training data when the weights are finished.

Normalisation statistics: the running averages of training lag behind the weights, and those of
averaged weights never saw them at all. Gates: a unit for their scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.gating import Gating

_MIN_SPREAD = 1e-6


@torch.no_grad()
def recalibrate(
    network: PagNetwork,
    images: Iterable[Tensor],
    gating: Callable[[int], Gating],
    keep: Iterable[nn.Module] = (),
) -> None:
    """Replace the statistics of every batch norm by the mean over `images`.

    Args:
        network: changed in place, left in evaluation mode.
        images: batches [B,3,H,W] RGB 0-255 on the network's device; none leaves it unchanged.
        gating: number of samples -> how the gated blocks run; the statistics are those of what
            it computes.
        keep: modules, such as a pretrained encoder, whose batch norms stay as they are.
    """
    kept = {id(part) for module in keep for part in module.modules()}
    norms = [
        module
        for module in network.eval().modules()
        if isinstance(module, nn.BatchNorm2d) and id(module) not in kept
    ]
    momentum = [norm.momentum for norm in norms]
    first = True
    for image in images:
        if first:
            _restart(norms)
            first = False
        network(image, gating(len(image)))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    network.eval()


def _restart(norms: list[nn.BatchNorm2d]) -> None:
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()


@torch.no_grad()
def standardise_gates(
    network: PagNetwork, images: Iterable[Tensor], gating: Callable[[int], Gating]
) -> None:
    """Give the scores of every gate mean 0 and standard deviation 1 over `images`.

    Their order, all that an exact count obeys, stays; scores that are all alike stay as they are. A
    threshold then means the same in every block, and half precision tells all scores apart.

    Args:
        network: changed in place, left in evaluation mode.
        images: batches [B,3,H,W] RGB 0-255 on the network's device; none leaves it unchanged.
        gating: number of samples -> how the gated blocks run.
    """
    gates = [block.gate for block in network.eval().gated]
    scores: dict[int, list[Tensor]] = {}
    hooks = [
        gate.register_forward_hook(
            lambda _, __, score, slot=slot: scores.setdefault(slot, []).append(score.flatten())
        )
        for slot, gate in enumerate(gates)
    ]
    for image in images:
        network(image, gating(len(image)))
    for hook in hooks:
        hook.remove()
    for slot, values in scores.items():
        together = torch.cat(values)
        spread = together.std()
        if spread > _MIN_SPREAD:
            gates[slot].bias.copy_((gates[slot].bias - together.mean()) / spread)
            gates[slot].weight.div_(spread)
