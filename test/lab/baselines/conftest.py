"""A network small enough to train in a test."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.model import NetworkConfig, PagNetwork, build_network  # noqa: E402

SIZE = (128, 96)
"""Width and height; the trunk then has 16 x 12 pixels."""


@pytest.fixture(scope="session")
def network() -> PagNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(
        heads=("depth", "normals", "segmentation"), classes=2, blocks=4, channels=8
    )
    network = build_network(config).eval()
    for block in network.gated:
        torch.nn.init.normal_(block.gate.weight)
    return network
