"""The graphs of every shipped model build with the real TensorRT-RTX builder, on a CPU.

Once the dense equivalent, and once the graph that TensorRT gets with standard operators in the
place of our kernels. So everything around these is what a TensorRT takes, strongly typed in half
precision. That builder knows no plugins, and nothing is run: speed and numbers only a GPU shows.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import without_kernels

from pag_ros.manifest import load_manifest
from pag_ros.runtime import shipped_models
from pag_ros.runtime.tensorrt.engine import engine_inputs, engine_outputs
from pag_ros.runtime.tensorrt.graph import dense_graph, engine_graph
from pag_ros.runtime.tensorrt.standard_graph import (
    keep_layout,
    standard_graph,
    standard_inputs,
    standard_outputs,
    standard_path,
)

SUPPORT = Path(__file__).parents[2] / "support"
NVIDIA_TYPES = {np.uint8: "UINT8", np.float32: "FLOAT", np.int32: "INT32"}


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_a_shipped_model_builds_densely(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from pag_ros.lab.export import export_dense
    from pag_ros.lab.training.checkpoint import load_checkpoint

    model = shipped_models()[name]
    manifest = load_manifest(model)
    dense = tmp_path / "dense.onnx"
    network = load_checkpoint(model.with_suffix(".safetensors"))
    export_dense(network, (manifest.width, manifest.height), dense)
    assert built(dense_graph(dense), tmp_path)["half_convolutions"] > 50


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_all_around_our_kernels_builds(name: str, tmp_path: Path) -> None:
    model = shipped_models()[name]
    manifest = load_manifest(model)
    told = built(without_kernels(engine_graph(model)), tmp_path)
    assert told["half_convolutions"] > 50
    for wanted, found in [
        (engine_inputs(manifest), told["inputs"]),
        (engine_outputs(manifest), told["outputs"]),
    ]:
        layout = {each: [NVIDIA_TYPES[dtype], [*shape]] for each, (dtype, shape) in wanted.items()}
        assert found == layout


@pytest.mark.parametrize("gpu", ["SM86", "SM89", "SM120"])
def test_a_gated_transformer_builds_with_counts_that_vary(
    gpu: str, transformer: Path, tmp_path: Path
) -> None:
    """Without a plugin, and without a GPU: what it computes there has not been seen."""
    manifest = load_manifest(transformer)
    patches = manifest.blocks[0].pixels
    told = built(standard_graph(transformer, manifest), tmp_path, str(patches), gpu)
    assert told["half_convolutions"] == 33, "2 behind the last enlargement are not"
    given = {**standard_inputs(manifest), **keep_layout(manifest)}
    assert told["inputs"] == {n: [NVIDIA_TYPES[t], [*shape]] for n, (t, shape) in given.items()}
    assert told["outputs"] == {
        name: [NVIDIA_TYPES[dtype], [-1] if name.startswith("index") else [*shape]]
        for name, (dtype, shape) in standard_outputs(manifest).items()
    }


@pytest.mark.parametrize("gpu", ["SM89"])
def test_the_graph_that_adopt_writes_builds_as_it_is(
    gpu: str, transformer: Path, tmp_path: Path
) -> None:
    """In single precision, for those who build it themselves."""
    content = standard_path(transformer).read_bytes()
    told = built(content, tmp_path, str(load_manifest(transformer).blocks[0].pixels), gpu)
    assert told["half_convolutions"] == 0


def built(graph: bytes, folder: Path, *arguments: str) -> dict[str, Any]:
    """What the builder tells of a graph."""
    for package in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install '.[nvidia-check]'")
    half = folder / "half.onnx"
    half.write_bytes(graph)
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "rtx_build.py"), str(half), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(json.loads(done.stdout.splitlines()[-1]))
    assert told["size"] > 1_000_000
    return told
