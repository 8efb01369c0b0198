"""Registers a model's programs with NVIDIA's plugin front end and prints what that hands back.

Run as a program: MODEL KERNELS CAPABILITY. Of TensorRT it uses the bindings and the lean runtime;
the builder's expressions, which exist in a builder only, are plain numbers here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_bindings as trt

from pag_ros.kernels.gpu.store import load_kernels
from pag_ros.runtime.tensorrt.graph import engine_graph, plugin_name
from pag_ros.runtime.tensorrt.plugin_quick import register_programs

sys.modules["tensorrt"] = trt  # without its module `plugin`, like NVIDIA's own `import tensorrt`

TYPES = {"fp16": trt.float16, "fp32": trt.float32, "i32": trt.int32}


class Numbers:
    """In the place of an IExprBuilder."""

    @staticmethod
    def constant(value: int) -> int:
        return value

    @staticmethod
    def operation(kind: trt.DimensionOperation, first: int, second: int) -> int:
        assert kind == trt.DimensionOperation.SUM
        return first + second


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
    programs = {spec.name: handed_back(spec) for spec in graph.specs}
    print(json.dumps({"creators": creators, "programs": programs, "version": trt.__version__}))


def handed_back(spec: Any) -> dict[str, Any]:
    """What the front end makes of one program."""
    from tensorrt_bindings import plugin
    from tensorrt_bindings.plugin._lib import QDP_REGISTRY
    from tensorrt_bindings.plugin._tensor import SymIntExpr

    kind = plugin_name(spec)
    raw = np.frombuffer(spec.name.encode(), np.int8).copy()
    fields = trt.PluginFieldCollection([trt.PluginField("program", raw, trt.PluginFieldType.CHAR)])
    made = (
        trt.get_plugin_registry()
        .get_creator(kind, "1", "pag")
        .create_plugin(
            kind, "pag", fields, trt.TensorRTPhase.BUILD, trt.QuickPluginCreationRequest.STRICT_AOT
        )
    )
    SymIntExpr._exprBuilder = None  # types are asked for before there are expressions
    types = made.get_output_data_types(
        [TYPES[t.dtype] for t in spec.inputs], [len(t.shape) for t in spec.inputs]
    )
    SymIntExpr._exprBuilder = Numbers()
    definition = QDP_REGISTRY[f"pag::{kind}"]
    inputs = [plugin.from_shape_expr(t.shape, dtype=TYPES[t.dtype]) for t in spec.inputs]
    outputs = definition.register_func(*inputs, program=spec.name)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    name, code, launch, extra = definition.aot_impl_func(*inputs, spec.name, outputs, 0)
    sizes = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")
    return {
        "types": [str(each).rpartition(".")[2] for each in types],
        "shapes": [[axis._int_expr for axis in each.shape_expr] for each in outputs],
        "aliased": made.aliased_map,
        "kernel": name,
        "code": code,
        "launch": {size: getattr(launch, size)._int_expr for size in sizes},
        "extra": len(extra),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
