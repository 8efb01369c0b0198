"""Registers a model's programs with NVIDIA's plugin front end and prints what that hands back.

Run as a program: MODEL KERNELS CAPABILITY. Of TensorRT it uses the bindings and the lean runtime,
and asks in the order in which a parser and a builder ask. What exists in a builder only, its
expressions, are plain numbers here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import tensorrt_bindings as trt
from onnx_import import import_node

from pag_ros.kernels.gpu.store import load_kernels
from pag_ros.runtime.tensorrt import plugin_class
from pag_ros.runtime.tensorrt.graph import engine_graph
from pag_ros.runtime.tensorrt.plugin_quick import register_programs

TYPES = {"fp16": trt.float16, "fp32": trt.float32, "i32": trt.int32}
SIZES = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")


class Numbers:
    """In the place of an IExprBuilder."""

    @staticmethod
    def constant(value: int) -> int:
        return value

    @staticmethod
    def operation(kind: trt.DimensionOperation, first: int, second: int) -> int:
        assert kind == trt.DimensionOperation.SUM
        return first + second


class Dimensions(list[int]):
    """In the place of a DimsExprs."""

    def __init__(self, length: int) -> None:
        super().__init__([0] * length)


class WithoutBuilder:
    """The bindings, in which expressions are numbers."""

    DimsExprs = Dimensions
    ISymExpr = object

    def __getattr__(self, name: str) -> Any:
        return getattr(trt, name)


# What the front end imports; without the module `plugin`, like NVIDIA's own `import tensorrt`.
sys.modules["tensorrt"] = WithoutBuilder()  # type: ignore[assignment]


def main(model: Path, kernels: Path, capability: int) -> None:
    graph = engine_graph(model)
    compiled = load_kernels(kernels, graph.specs, capability)
    register_programs(trt, graph.programs, compiled)
    register_programs(trt, graph.programs, compiled)  # a second model's build changes nothing
    creators = [
        [c.name, c.plugin_version, c.plugin_namespace]
        for c in trt.get_plugin_registry().all_creators
        if c.plugin_namespace == "pag"
    ]
    # A process that falls back from one kind of plugins to the other has registered both.
    plugin_class.register_programs(trt, graph.programs, compiled)
    versions = sorted(
        [c.name, c.plugin_version]
        for c in trt.get_plugin_registry().all_creators
        if c.plugin_namespace == "pag"
    )
    nodes = [node for node in onnx.load_from_string(graph.onnx).graph.node if node.domain == "pag"]
    programs = {
        graph.programs[node.name].name: handed_back(node, graph.programs[node.name])
        for node in nodes
    }
    print(json.dumps({"creators": creators, "with both kinds": versions, "programs": programs}))


def handed_back(node: onnx.NodeProto, spec: Any) -> dict[str, Any]:
    """What the front end makes of a node that is this program."""
    count = len(spec.inputs)
    tensors = [described(tensor) for tensor in (*spec.inputs, *spec.outputs)]
    made = import_node(trt, node, trt.QuickPluginCreationRequest.PREFER_AOT).clone()
    types = made.get_output_data_types(
        [TYPES[tensor.dtype] for tensor in spec.inputs], [len(t.shape) for t in spec.inputs]
    )
    shapes = made.get_output_shapes([tensor.shape for tensor in spec.inputs], [], Numbers())
    formats = made.get_supported_format_combinations(tensors, count)
    made.configure_plugin(tensors[:count], tensors[count:])
    made.set_tactic(0)
    launch, extra = SimpleNamespace(), SimpleNamespace()
    made.get_launch_params(None, tensors, count, launch, extra, Numbers())
    descriptions = [tensor.desc for tensor in tensors]
    name, code = made.get_kernel(descriptions[:count], descriptions[count:])
    return {
        "types": [str(each).rpartition(".")[2] for each in types],
        "shapes": shapes,
        "formats": [str(each.type).rpartition(".")[2] for each in formats],
        "aliased": {place: made.get_aliased_input(place) for place in range(len(spec.outputs))},
        "kernel": name,
        "code": code.decode(),
        "launch": {size: getattr(launch, size).expr for size in SIZES},
        "extra": extra.nbSymExprs,
    }


def described(tensor: Any) -> trt.DynamicPluginTensorDesc:
    """A tensor of a program as TensorRT describes it to plugins."""
    static = trt.PluginTensorDesc()
    static.dims, static.type = trt.Dims(tensor.shape), TYPES[tensor.dtype]
    static.format = trt.TensorFormat.LINEAR
    dynamic = trt.DynamicPluginTensorDesc()
    dynamic.desc = static
    return dynamic


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
