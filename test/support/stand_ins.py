"""The graph that TensorRT gets, with standard operators in the place of our kernels."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pag_ros.runtime.tensorrt.graph import EngineGraph

TYPES = {"fp16": TensorProto.FLOAT16, "fp32": TensorProto.FLOAT, "i32": TensorProto.INT32}


def without_kernels(graph: EngineGraph) -> bytes:
    """The same graph for a builder that knows no plugins.

    A stand-in has the types and shapes of its program, and needs all inputs that are no constants,
    so nothing before it can be left out. Its numbers mean nothing.
    """
    proto = onnx.load_model_from_string(graph.onnx)
    constants = {each.name for each in proto.graph.initializer}
    nodes: list[NodeProto] = []
    shapes = {"all in one axis": (-1,), "first axis": (0,)}
    for node in proto.graph.node:
        if node.domain != "pag":
            nodes.append(node)
            continue
        spec = graph.programs[node.name]
        largest = []
        for name in set(node.input) - constants:
            made = f"{node.name} {name}"
            nodes += [
                helper.make_node("Reshape", [name, "all in one axis"], [f"{made} flat"]),
                helper.make_node("Cast", [f"{made} flat"], [f"{made} float"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMax", [f"{made} float", "first axis"], [made], keepdims=1),
            ]
            largest.append(made)
        nodes.append(helper.make_node("Sum", sorted(largest), [f"{node.name} sum"]))
        for name, tensor in zip(node.output, spec.outputs, strict=True):
            shapes[f"{name} shape"] = tensor.shape
            to = TYPES[tensor.dtype]
            nodes += [
                helper.make_node("Cast", [f"{node.name} sum"], [f"{name} typed"], to=to),
                helper.make_node("Expand", [f"{name} typed", f"{name} shape"], [name]),
            ]
    used = {name for node in nodes for name in node.input}
    kept = [each for each in proto.graph.initializer if each.name in used]
    kept += [numpy_helper.from_array(np.array(s, np.int64), name) for name, s in shapes.items()]
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(kept)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())
