"""The dense equivalent of every shipped model builds with the real TensorRT-RTX builder, on a CPU.

So everything around our kernels is what a TensorRT takes, strongly typed in half precision. That
builder knows no plugins, and nothing is run: speed and numbers only a GPU shows.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from pag_ros.manifest import load_manifest
from pag_ros.runtime import shipped_models
from pag_ros.runtime.tensorrt.graph import dense_graph

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_a_shipped_model_builds(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for package in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install '.[nvidia-check]'")
    from pag_ros.export import export_dense
    from pag_ros.training.checkpoint import load_checkpoint

    model = shipped_models()[name]
    manifest = load_manifest(model)
    dense, half = tmp_path / "dense.onnx", tmp_path / "half.onnx"
    network = load_checkpoint(model.with_suffix(".safetensors"))
    export_dense(network, (manifest.width, manifest.height), dense)
    half.write_bytes(dense_graph(dense))
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "rtx_build.py"), str(half)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size, convolutions = map(int, done.stdout.split()[-2:])
    assert size > 1_000_000
    assert convolutions > 50
