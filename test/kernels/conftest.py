"""The processor's instruction sets one after another, and workspaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pag_ros import kernels


@pytest.fixture(params=kernels.instruction_sets())
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forces each instruction set of this processor in turn."""
    monkeypatch.setenv("PAG_ROS_ISA", request.param)
    return str(request.param)


@pytest.fixture(params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest) -> str:
    """The precisions of a branch in turn."""
    return str(request.param)


@pytest.fixture
def workspace() -> Iterator[Callable[[int], kernels.Workspace]]:
    """Makes workspaces with so many threads, closed after the test."""
    made: list[kernels.Workspace] = []

    def make(threads: int) -> kernels.Workspace:
        made.append(kernels.Workspace(threads))
        return made[-1]

    yield make
    for each in made:
        each.close()
