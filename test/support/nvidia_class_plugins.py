"""Registers a model's programs as plugins that are Python classes; prints what they hand back.

Run as a program: MODEL KERNELS CAPABILITY CUDA_LIBRARY. Of TensorRT it uses the bindings and the
lean runtime; dimensions, which exist in a builder only, are plain numbers here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorrt_bindings as trt

from pag_ros.kernels.gpu.store import load_kernels
from pag_ros.runtime.tensorrt.graph import engine_graph, plugin_name
from pag_ros.runtime.tensorrt.plugin_class import register_programs

STREAM = 0x5EED


class WithoutBuilder:
    """The bindings, with lists in the place of the builder's dimensions."""

    DimsExprs = list

    def __getattr__(self, name: str) -> Any:
        return getattr(trt, name)


def main(model: Path, kernels: Path, capability: int, library: str) -> None:
    graph = engine_graph(model)
    compiled = load_kernels(kernels, graph.specs, capability)
    register_programs(WithoutBuilder(), graph.programs, compiled, library)
    register_programs(WithoutBuilder(), graph.programs, compiled, library)  # changes nothing
    registry = trt.get_plugin_registry()
    ours = [c for c in registry.all_creators if c.plugin_namespace == "pag"]
    print(
        json.dumps(
            {
                "creators": [[c.name, c.plugin_version, c.plugin_namespace] for c in ours],
                "programs": {spec.name: handed_back(registry, spec) for spec in graph.specs},
            }
        )
    )


def handed_back(registry: Any, spec: Any) -> dict[str, Any]:
    """What one program's plugin says, from a copy of the one that its own fields make."""
    kind = plugin_name(spec)
    creator = registry.get_creator(kind, "1", "pag")
    raw = np.frombuffer(spec.name.encode(), np.int8).copy()
    fields = trt.PluginFieldCollection([trt.PluginField("program", raw, trt.PluginFieldType.CHAR)])
    first = creator.create_plugin(kind, fields, trt.TensorRTPhase.BUILD)
    stored = first.get_fields_to_serialize()
    # TensorRT reads this later: memory that nobody holds has another content by then.
    others = [np.full(len(spec.name), ord("?"), np.int8) for _ in range(8)]
    made = creator.create_plugin(kind, stored, trt.TensorRTPhase.RUNTIME).attach_to_context(None)
    inputs = [1000 + number for number in range(len(spec.inputs))]
    outputs = [2000 + number for number in range(len(spec.outputs))]
    made.enqueue(None, None, inputs, outputs, 0, STREAM)
    del others
    numbers = SimpleNamespace(constant=int)
    return {
        "types": [str(each).rpartition(".")[2] for each in made.get_output_data_types([])],
        "shapes": made.get_output_shapes([], [], numbers),
        "takes": [formats(made, spec, place) for place in range(len(inputs) + len(outputs))],
        "outputs": made.num_outputs,
    }


def formats(made: Any, spec: Any, place: int) -> list[str]:
    """Types that the plugin takes for an argument."""
    types = (trt.float16, trt.float32, trt.int32)
    found = []
    for kind in types:
        for form in (trt.TensorFormat.LINEAR, trt.TensorFormat.CHW32):
            tensor = SimpleNamespace(desc=SimpleNamespace(type=kind, format=form))
            if made.supports_format_combination(place, [tensor] * (place + 1), len(spec.inputs)):
                found.append(f"{kind} {form}".replace("DataType.", "").replace("TensorFormat.", ""))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
