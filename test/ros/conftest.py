"""The real node in a process of its own, and clients that talk to it over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import SHARED_DOMAIN, Client, NodeProcess, next_domain, quick


@pytest.fixture
def start_node(tiny_model: Path, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts nodes, each alone in a DDS domain, with the tiny model unless told otherwise."""
    nodes: list[NodeProcess] = []

    def start(remapped: dict[str, str] | None = None, **parameters: Any) -> NodeProcess:
        log = tmp_path / f"node{len(nodes)}.log"
        nodes.append(NodeProcess(log, next_domain(), quick(tiny_model) | parameters, remapped))
        return nodes[-1]

    yield start
    for node in nodes:
        _assert_clean_end(node)


@pytest.fixture
def connect() -> Iterator[Callable[[NodeProcess], Client]]:
    """Makes clients of nodes."""
    clients: list[Client] = []

    def make(node: NodeProcess) -> Client:
        clients.append(Client(node.domain))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def shared_node(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """An active node for all tests that leave it as it was."""
    log = tmp_path_factory.mktemp("node") / "node.log"
    node = NodeProcess(log, SHARED_DOMAIN, quick(tiny_model))
    node.wait_for_log("active, listening")
    yield node
    _assert_clean_end(node)


@pytest.fixture
def client(shared_node: NodeProcess, connect: Callable[[NodeProcess], Client]) -> Client:
    return connect(shared_node)


def _assert_clean_end(node: NodeProcess) -> None:
    """However a node was treated, it ends when told to, in order."""
    assert node.stop() in (0, 2), node.log
    assert "Traceback" not in node.log, node.log
