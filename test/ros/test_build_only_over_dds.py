"""`build_only`: the node loads the model, builds what is missing, and ends.

There is no GPU here: an engine is never built, only asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from ros_client import PATIENCE_S, NodeProcess

Start = Callable[..., NodeProcess]


def test_it_configures_and_ends(start_node: Start) -> None:
    node = start_node(build_only=True, device="cpu")
    assert node.process.wait(timeout=PATIENCE_S) == 0
    assert "configured in" in node.log
    assert "active, listening" not in node.log


def test_what_cannot_be_built_is_told_by_the_exit_code_and_a_line(start_node: Start) -> None:
    node = start_node(build_only=True, model="no_such_model")
    assert node.process.wait(timeout=PATIENCE_S) == 2
    assert "configure failed: no model named 'no_such_model'" in node.log


def test_a_machine_without_a_gpu_says_what_is_missing(start_node: Start, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine with a GPU is one without now
    node = start_node(build_only=True, device="tensorrt")
    assert node.process.wait(timeout=PATIENCE_S) == 2
    assert "configure failed: " in node.log
    assert "NVIDIA" in node.log
