"""The GPU kernels in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from triton_interpreter import Interpreter


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    running = Interpreter()
    yield running
    running.close()
