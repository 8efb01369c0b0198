"""The same network at another input size, from the same file."""

from __future__ import annotations

import openvino as ov
from openvino import opset13

from pag_ros.manifest import Manifest
from pag_ros.runtime.network_size import Size, depth_factor, grid_at, size_of, stride_of
from pag_ros.runtime.openvino.api import GraphNode, NetworkGraph


def resize_graph(graph: NetworkGraph, exported: Manifest, wanted: Manifest) -> None:
    """Give a graph that was exported for one size another one, in place, before it is compiled.

    Sizes are constants in three places: where maps are enlarged, expanded and flattened. Padding
    that depends on the size is one as well. The depth is scaled by `depth_factor`. The operators of
    our own have to be resized by their owner.

    Args:
        graph: with inputs as in `model_layout`.
        exported: manifest of the size that the graph has.
        wanted: manifest of the size that it is to have, see `network_size.resized`.

    Raises:
        RuntimeError: the graph does not fit together at that size.
    """
    pixels = {b.pixels: n.pixels for b, n in zip(exported.blocks, wanted.blocks, strict=True)}
    for operator in graph.get_ops():
        sizes = _sizes(operator)
        if sizes is None:
            continue
        if operator.get_type_name() == "Reshape":
            new = [pixels.get(sizes[0], sizes[0])]
        else:
            width, height = _resized((sizes[3], sizes[2]), size_of(exported), size_of(wanted))
            new = [*sizes[:2], height, width]
        constant = opset13.constant(new, ov.Type.i64)
        operator.input(1).replace_source_output(constant.output(0))
    _pad_by_size(graph)
    _scale_depth(graph, depth_factor(exported, wanted))
    shape = [1, wanted.height, wanted.width, 3]
    graph.input("image").get_node().set_partial_shape(ov.PartialShape(shape))
    graph.validate_nodes_and_infer_types()


def _pad_by_size(graph: NetworkGraph) -> None:
    """Let convolutions of a stride that are padded as TensorFlow's "SAME" find out their padding.

    Of such a network an even side is padded more at its end, an odd one alike at both. Networks
    that pad all sides alike pad them so at every size.
    """
    kinds = ("Convolution", "GroupConvolution")
    convolutions = [op for op in graph.get_ops() if op.get_type_name() in kinds]
    strided = [op for op in convolutions if max(op.get_attributes()["strides"]) > 1]
    paddings = [op.get_attributes() for op in strided]
    if any(padding["pads_begin"] != padding["pads_end"] for padding in paddings):
        for convolution in strided:
            convolution.set_attribute("auto_pad", "same_upper")


def _scale_depth(graph: NetworkGraph, factor: float) -> None:
    """Multiply the depth, of a graph that has one, before it leaves."""
    for port in graph.outputs:
        if "depth" in port.names:
            depth = port.get_node().input_value(0)
            names = depth.get_names()
            scaled = opset13.multiply(depth, opset13.constant([factor], ov.Type.f32))
            port.get_node().input(0).replace_source_output(scaled.output(0))
            depth.set_names(set())
            scaled.output(0).set_names(names)


def _resized(grid: Size, exported: Size, wanted: Size) -> Size:
    """The size of a map at another input size; one of a single pixel has no stride and stays."""
    stride = None if grid == (1, 1) else stride_of(grid, exported)
    return grid if stride is None else grid_at(stride, wanted)


def _sizes(operator: GraphNode) -> list[int] | None:
    """The constant sizes of the map that an operator makes; None if it makes no such map."""
    kind = operator.get_type_name()
    if kind not in ("Interpolate", "Broadcast", "Reshape"):
        return None
    source = operator.input_value(1).get_node()
    if source.get_type_name() != "Constant" or not source.get_element_type().is_integral():
        return None  # It has factors in place of sizes.
    sizes = [int(size) for size in source.data.ravel()]
    return sizes if len(sizes) == (1 if kind == "Reshape" else 4) else None
