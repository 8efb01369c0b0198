"""A network made ready for another input size than that of its training."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from pag_ros.errors import ModelError
from pag_ros.lab.model import PagNetwork


def metric_at(
    network: PagNetwork, size: tuple[int, int], trained: tuple[int, int], size_exponent: float
) -> PagNetwork:
    """A copy that is metric at `size`, if the network is at the size of its training.

    A factor of the depth is a term of its logarithm, hence of a bias. A session does the same when
    it runs a file at another size (`pag_ros.runtime.network_size.depth_factor`).

    Args:
        network: as it was trained.
        size: (width, height) of the input from now on.
        trained: (width, height) of the input at its training.
        size_exponent: of `Manifest`.

    Raises:
        ModelError: the network has no depth.
    """
    if "depth" not in network.config.heads:
        raise ModelError("the network gives no depth that another input size would change")
    scale = min(new / old for new, old in zip(size, trained, strict=True))
    network = copy.deepcopy(network)
    bias = network.decoder.heads["depth"].bias
    assert isinstance(bias, Tensor)
    with torch.no_grad():
        bias += size_exponent * math.log(scale)
    return network
