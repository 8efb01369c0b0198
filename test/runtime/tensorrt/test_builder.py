"""Building an engine: what is asked of TensorRT, how far it has come, and what the engine tells.

With TensorRT-RTX's real builder, which works without a GPU, parsing, flags, progress monitor and
errors are real; it knows no plugins, and its engines cannot be read here. What TensorRT's own
inspector says is a text written after its documentation, not taken from a GPU machine.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt import plugin_class, plugin_quick
from pag_ros.runtime.tensorrt.builder import MIB, layer_summary, plugin_kinds, require_memory
from pag_ros.runtime.tensorrt.graph import EngineGraph
from pag_ros.runtime.tensorrt.progress import BuildProgress, log_lines

SUPPORT = Path(__file__).parents[2] / "support"


def half_precision_network(path: Path, operator: str = "Relu") -> Path:
    """Two convolutions in float16."""
    weights = [
        numpy_helper.from_array(np.ones((8, channels, 3, 3), np.float16), f"w{channels}")
        for channels in (4, 8)
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w4"], ["a"]),
        helper.make_node(operator, ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w8"], ["y"]),
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape)
        for name, shape in [("x", [1, 4, 16, 16]), ("y", [1, 8, 12, 12])]
    ]
    graph = helper.make_graph(nodes, "half", tensors[:1], tensors[1:], weights)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def compiled(model: Path, *options: str) -> dict[str, Any]:
    for package in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install '.[nvidia-check]'")
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "rtx_compile.py"), str(model), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_real_builder_takes_it_and_tells_its_progress(tmp_path: Path) -> None:
    told = compiled(half_precision_network(tmp_path / "half.onnx"))
    assert told["size"] > 1000
    assert told["shares"] == sorted(told["shares"])
    assert told["shares"][-1] == 1.0
    assert told["aliased"], "the builder would refuse blocks that work in place"
    assert not told["rounded"], "products in float32 would be no better than half precision"


def best_of(path: Path) -> Path:
    """As many of 16 numbers as the input says."""
    tensors = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16]),
        helper.make_tensor_value_info("keep", TensorProto.INT32, [1]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "n"]),
    ]
    nodes = [
        helper.make_node("Cast", ["keep"], ["k"], to=TensorProto.INT64),
        helper.make_node("TopK", ["x", "k"], ["y", "which"], axis=1),
    ]
    graph = helper.make_graph(nodes, "best", tensors[:2], tensors[2:])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_a_real_builder_takes_counts_that_vary_by_their_profile(tmp_path: Path) -> None:
    model = best_of(tmp_path / "best.onnx")
    assert compiled(model, "16")["size"] > 1000
    assert "cannot build the engine" in compiled(model)["error"], "the profile is what it takes"


def test_what_a_real_parser_does_not_understand_is_told(tmp_path: Path) -> None:
    model = tmp_path / "damaged.onnx"
    model.write_bytes(half_precision_network(tmp_path / "half.onnx").read_bytes()[:200])
    assert "does not understand the model" in compiled(model)["error"]


def test_a_real_build_can_be_stopped(tmp_path: Path) -> None:
    told = compiled(half_precision_network(tmp_path / "half.onnx"), "stop")
    assert told == {"error": "the build of the engine was stopped"}


@pytest.mark.parametrize(
    ("version", "kinds"),
    [
        ("10.0.1", ["class"]),
        ("10.3.0", ["class"]),
        ("10.9.0.34", ["class"]),
        ("10.13.3.9", ["class"]),
        ("10.14.1.48", ["aot", "class"]),
        ("10.16.0", ["aot", "class"]),
        ("11.4.0.106", ["aot", "class"]),
    ],
)
def test_kernels_go_into_plans_where_their_names_survive(
    monkeypatch: pytest.MonkeyPatch, version: str, kinds: list[str]
) -> None:
    """Before 10.14 the bindings hand over a kernel's name from a string that is gone."""
    asked: list[str] = []
    for module, name in ((plugin_quick, "aot"), (plugin_class, "class")):
        register = partial(lambda name, *arguments: asked.append(name), name)
        monkeypatch.setattr(module, "register_programs", register)
    found = plugin_kinds(SimpleNamespace(__version__=version))
    for plugins in found:
        plugins.register(EngineGraph(b"", {}), {})
    assert asked == [plugins.kind for plugins in found] == kinds
    assert [plugins.needed_to_run for plugins in found] == [kind == "class" for kind in kinds]
    assert len({plugins.version for plugins in found}) == len(kinds)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nested_phases_become_one_share_and_an_estimate() -> None:
    clock, told = Clock(), []
    progress = BuildProgress(lambda *report: told.append(report), clock)
    progress.phase_start("build", None, 4)
    progress.phase_start("tactics", "build", 10)
    clock.now = 5.0
    progress.step_complete("tactics", 4)
    assert told[-1] == (pytest.approx(0.125), pytest.approx(35.0), "tactics")
    progress.phase_finish("tactics")
    progress.step_complete("build", 0)
    assert told[-1][0] == pytest.approx(0.25)
    clock.now = 30.0
    progress.step_complete("build", 2)
    assert told[-1] == (pytest.approx(0.75), pytest.approx(10.0), "build")
    progress.phase_finish("build")
    assert told[-1][:2] == (1.0, 0.0)


def test_progress_never_goes_back_and_survives_surprises() -> None:
    told = []
    progress = BuildProgress(lambda share, left, phase: told.append(share), Clock())
    progress.step_complete("unknown", 3)
    progress.phase_finish("unknown")
    progress.phase_start("first", "a parent that never began", 0)
    progress.step_complete("first", 0)
    progress.phase_finish("first")
    progress.phase_start("second", None, 100)
    progress.step_complete("second", 0)
    assert told == sorted(told)


def test_a_log_is_not_flooded() -> None:
    said: list[str] = []
    report = log_lines(said.append, every_s=3600.0)
    for share in np.linspace(0, 1, 100):
        report(float(share), 1.0, "x")
    assert said == []
    log_lines(said.append, every_s=0.0)(0.5, 12.0, "timing")
    assert said == ["building: 50 %, about 12 s left (timing)"]


def test_the_need_for_memory_and_what_is_free_are_told() -> None:
    require_memory(11_000_000, 2048 * MIB)
    with pytest.raises(BackendError, match=r"needs about 810 MiB.*600 MiB are free; end other"):
        require_memory(11_000_000, 600 * MIB)


def test_the_summary_counts_layers_by_type_and_names_our_kernels() -> None:
    def layer(name: str, kind: str, tensor: str) -> dict[str, Any]:
        return {"Name": name, "LayerType": kind, "Outputs": [{"Format/Datatype": tensor}]}

    layers = [
        layer("conv", "CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
        layer("conv2", "CaskConvolution", "Half"),
        layer("heads", "Myelin", "Row major linear FP32"),
        layer("block0 conv1", "PluginV3", "Row major linear FP16 format"),
        layer("strange", "NoOp", "Bananas"),
    ]
    assert layer_summary(json.dumps({"Layers": layers, "Bindings": []})) == {
        "precisions": {"fp16": 3, "fp32": 1, "Bananas": 1},
        "plugins": ["block0 conv1"],
    }


@pytest.mark.parametrize("text", ["", "no JSON", "{}", "[]", '{"Layers": ["names", "only"]}'])
def test_an_engine_that_tells_nothing_has_an_empty_summary(text: str) -> None:
    assert layer_summary(text) == {"precisions": {}, "plugins": []}
