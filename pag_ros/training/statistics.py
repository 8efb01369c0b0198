"""Normalisation statistics computed anew from training data.

The running averages of training lag behind the weights, and those of averaged weights never saw
them at all; both are put right by passing training data through the finished network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pag_ros.model import PagNetwork
from pag_ros.model.gating import Gating


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
