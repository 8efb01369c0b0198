"""The graph of a model as OpenVINO reads it, checked and at the size asked for, to be compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13

from pag_ros.manifest import Manifest
from pag_ros.runtime.model_layout import input_layout, output_layout
from pag_ros.runtime.onnx_precheck import check_onnx
from pag_ros.runtime.openvino.api import NetworkGraph
from pag_ros.runtime.openvino.geometry import join_geometry
from pag_ros.runtime.openvino.graph_size import resize_graph
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.quantization import (
    Quantization,
    gated_ranges,
    insert_roundings,
    simplify,
)
from pag_ros.runtime.openvino.trunk import join_blocks


def read_graph(
    model: Path,
    exported: Manifest,
    wanted: Manifest,
    operators: Operators,
    quantization: Quantization | None = None,
) -> NetworkGraph:
    """Read a model; its gated blocks are computed by `operators`.

    Args:
        model: path of the ONNX file.
        exported: its manifest.
        wanted: the same object, or the manifest of another size, see `network_size.resized`.
        quantization: what to round to 8 bits, if anything.

    Raises:
        RangesError: the quantization does not fit the graph.
        Exception: of any kind; OpenVINO and our operators stumble over a foreign graph.
    """
    graph = read_separate(model, exported, operators)
    if wanted is not exported:
        operators.resize(wanted.height, wanted.width)
        resize_graph(graph, exported, wanted)
        _check_interface(graph, wanted)
    if quantization is not None:
        channels = {
            each.get_friendly_name(): each.form.convolutions[0].inputs
            for each in operators.convolutions()
        }
        operators.take_ranges(gated_ranges(quantization, channels, model))
    operators.join_convolutions()
    simplify(graph)
    taken = join_blocks(operators, {} if quantization is None else quantization.biases)
    join_geometry(graph, operators)
    graph.validate_nodes_and_infer_types()
    if quantization is not None:
        insert_roundings(graph, quantization.without(taken), model)
    return graph


def read_separate(model: Path, exported: Manifest, operators: Operators) -> NetworkGraph:
    """The same at the model's own size, with an operator for every gated convolution.

    Raises:
        Exception: see `read_graph`.
    """
    core = ov.Core()
    for extension in operators.extensions():
        core.add_extension(extension)
    content = model.read_bytes()
    check_onnx(content)
    # Bytes, not a path: the model cannot make the reader open any other file.
    graph: NetworkGraph = core.read_model(content, b"")
    if "depth" not in exported.heads:
        _take_focal_length(graph)
    _check_interface(graph, exported)
    return graph


def _take_focal_length(graph: NetworkGraph) -> None:
    """Have the input "fx" though nothing uses it: OpenVINO leaves out what nothing uses."""
    if not any("fx" in port.names for port in graph.inputs):
        unused = opset13.parameter([1], np.float32)
        unused.output(0).set_names({"fx"})
        graph.add_parameters([unused])


def _check_interface(graph: NetworkGraph, manifest: Manifest) -> None:
    """Raise ValueError unless the graph has the inputs and outputs that its manifest promises."""
    wanted = {**input_layout(manifest), **output_layout(manifest)}
    ports = {name: port for port in (*graph.inputs, *graph.outputs) for name in port.names}
    for name, (dtype, shape) in wanted.items():
        if name not in ports:
            raise ValueError(f"it has no input or output {name!r}")
        port = ports[name]
        found = port.partial_shape
        if port.element_type.to_dtype() != dtype or found != ov.PartialShape(list(shape)):
            raise ValueError(
                f"{name!r} is {port.element_type} {found}, expected {np.dtype(dtype)} {list(shape)}"
            )
