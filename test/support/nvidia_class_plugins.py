"""Registers a model's programs as plugins that are Python classes; prints what they hand back.

Run as a program: MODEL KERNELS CAPABILITY CUDA_LIBRARY. Of TensorRT it uses the bindings and the
lean runtime, and calls the plugins in the order in which a builder and a runtime call them;
dimensions, which exist in a builder only, are plain numbers here. CUDA_LIBRARY is the stub that
writes calls to the file CUDA_STUB_LOG. With WITHOUT_ALIASES in the environment the bindings lack
what 10.0 to 10.2 lack.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import tensorrt_bindings as trt
from onnx_import import import_node

from pag_ros.kernels.gpu.store import load_kernels
from pag_ros.runtime.tensorrt.graph import engine_graph
from pag_ros.runtime.tensorrt.libcuda import LibCuda
from pag_ros.runtime.tensorrt.plugin_class import PLUGIN_VERSION, register_programs

STREAM = 0x5EED


class WithoutBuilder:
    """The bindings, with lists in the place of the builder's dimensions."""

    DimsExprs = list

    def __getattr__(self, name: str) -> Any:
        if name == "IPluginV3OneBuildV2" and "WITHOUT_ALIASES" in os.environ:
            raise AttributeError(name)
        return getattr(trt, name)


def main(model: Path, kernels: Path, capability: int, library: str) -> None:
    graph = engine_graph(model, PLUGIN_VERSION)
    compiled = load_kernels(kernels, graph.specs, capability)
    register_programs(WithoutBuilder(), graph.programs, compiled, library)
    register_programs(WithoutBuilder(), graph.programs, compiled, library)  # changes nothing
    registry = trt.get_plugin_registry()
    ours = [c for c in registry.all_creators if c.plugin_namespace == "pag"]
    nodes = {
        graph.programs[node.name].name: node
        for node in onnx.load_from_string(graph.onnx).graph.node
        if node.domain == "pag"
    }
    cuda = LibCuda(library)
    print(
        json.dumps(
            {
                "creators": [[c.name, c.plugin_version, c.plugin_namespace] for c in ours],
                "programs": {
                    spec.name: handed_back(nodes[spec.name], spec, cuda) for spec in graph.specs
                },
            }
        )
    )


def handed_back(node: onnx.NodeProto, spec: Any, cuda: LibCuda) -> dict[str, Any]:
    """What one program's plugin says, and the driver's calls in each part of its life."""
    built = import_node(trt, node).clone()
    numbers = SimpleNamespace(constant=int)
    said = {
        "types": [str(each).rpartition(".")[2] for each in built.get_output_data_types([])],
        "shapes": built.get_output_shapes([], [], numbers),
        "takes": [
            formats(built, spec, place) for place in range(len(spec.inputs) + len(spec.outputs))
        ],
        "outputs": built.num_outputs,
        "aliased": aliases(built, spec),
        "timed": life(built, spec, cuda),
        "timed without a context": life(built, spec, cuda, attached=False),
        "unprepared": error_of(lambda: enqueue(built, spec)),
    }
    stored = built.get_fields_to_serialize()
    # TensorRT reads this later: memory that nobody holds has another content by then.
    others = [np.full(len(spec.name), ord("?"), np.int8) for _ in range(8)]
    creator = trt.get_plugin_registry().get_creator(node.op_type, PLUGIN_VERSION, "pag")
    read = creator.create_plugin(node.op_type, stored, trt.TensorRTPhase.RUNTIME)
    del others
    return {**said, "run": life(read, spec, cuda)}


def life(plugin: Any, spec: Any, cuda: LibCuda, attached: bool = True) -> dict[str, Any]:
    """The driver's calls while a plugin is attached to an execution context (or only cloned), while
    it is prepared, and while its stream is captured for what it enqueues; how preparing failed."""
    log = CallLog()
    user = plugin.attach_to_context(None) if attached else plugin.clone()
    calls = {"attached": log.new_calls()}

    def prepare() -> None:
        user.configure_plugin([], [])
        user.set_tactic(0)
        user.on_shape_change([], [])

    error = error_of(prepare)
    calls["prepared"] = log.new_calls()
    if not error:
        cuda.begin_capture(STREAM)
        error = error_of(lambda: enqueue(user, spec))
        cuda.end_capture(STREAM)
        calls["recorded"] = log.new_calls()
    return {**calls, "error": error}


def enqueue(plugin: Any, spec: Any) -> None:
    inputs = [1000 + number for number in range(len(spec.inputs))]
    outputs = [
        2000 + place if base < 0 else inputs[base]
        for place, base in enumerate(aliases(plugin, spec))
    ]
    plugin.enqueue(None, None, inputs, outputs, 0, STREAM)


def aliases(plugin: Any, spec: Any) -> list[int]:
    """For every output the input that it lies in, -1 for none, as TensorRT learns it: from plugins
    with the interface for it."""
    build = plugin.get_capability_interface(trt.PluginCapabilityType.BUILD)
    if not isinstance(build, trt.IPluginV3OneBuildV2):
        return [-1] * len(spec.outputs)
    return [build.get_aliased_input(place) for place in range(len(spec.outputs))]


class CallLog:
    """The driver's calls from now on."""

    def __init__(self) -> None:
        self._path = Path(os.environ["CUDA_STUB_LOG"])
        self._known = 0
        self.new_calls()

    def new_calls(self) -> list[str]:
        """Those since the last time."""
        calls = self._path.read_text().splitlines()
        new, self._known = calls[self._known :], len(calls)
        return new


def error_of(work: Callable[[], None]) -> str:
    """How a piece of work failed; empty if it did not."""
    try:
        work()
    except Exception as error:
        return str(error)
    return ""


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
