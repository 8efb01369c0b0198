"""One operator enlarges and finishes depth and normals: `join_geometry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openvino as ov

from pag_ros import kernels
from pag_ros.runtime.openvino.api import (
    AttributeVisitor,
    GraphNode,
    GraphOutput,
    HostTensor,
    NetworkGraph,
)
from pag_ros.runtime.openvino.graph_ways import (
    constant_of,
    is_only_way,
    move_readers,
    reader_names,
    way_back,
)
from pag_ros.runtime.openvino.operators import Operator, Operators

_BILINEAR = {
    "mode": "linear_onnx",
    "shape_calculation_mode": "sizes",
    "coordinate_transformation_mode": "half_pixel",
    "antialias": False,
    "pads_begin": [0, 0, 0, 0],
    "pads_end": [0, 0, 0, 0],
}
_UNBOUNDED = 1e30


@dataclass(frozen=True)
class _Form:
    """Arguments of `kernels.enlarge_geometry`."""

    height: int
    width: int
    least: float


@dataclass(frozen=True)
class _Ending:
    """How a graph makes depth and normals of maps [1,4,h,w]."""

    maps: GraphOutput
    form: _Form
    depth: GraphOutput
    normals: GraphOutput


def join_geometry(graph: NetworkGraph, operators: Operators) -> None:
    """Let one operator enlarge log depth and normals, and finish both.

    OpenVINO takes seven passes over maps of full size for it. A graph that ends otherwise stays as
    it is. To be called when the graph has its size.
    """
    for node in graph.get_ops():
        ending = _matched(node)
        if ending is not None:
            # The operator holds none of what it replaces: it would stay a reader of the maps.
            depth, normals = EnlargeGeometry([ending.maps], ending.form, operators).results()
            move_readers(ending.depth, depth)
            move_readers(ending.normals, normals)


class EnlargeGeometry(Operator):
    """maps [1,4,h,w] -> (depth [1,1,H,W], normals [1,H,W,3])."""

    def __init__(self, inputs: Sequence[GraphOutput], form: _Form, owner: Operators) -> None:
        self._form = form
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        size = [self._form.height, self._form.width]
        self.set_output_size(2)
        self.set_output_type(0, ov.Type.f32, ov.PartialShape([1, 1, *size]))
        self.set_output_type(1, ov.Type.f32, ov.PartialShape([1, *size, 3]))

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> EnlargeGeometry:
        return EnlargeGeometry(inputs, self._form, self.owner)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        visitor.on_attributes({"height": self._form.height, "width": self._form.width})
        return True

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        depth, normals = (tensor.data for tensor in outputs)
        kernels.enlarge_geometry(
            inputs[0].data[0],
            self._form.height,
            self._form.width,
            self._form.least,
            depth=depth[0, 0],
            normals=normals[0],
            workspace=self.owner.workspace,
        )
        return True


def _matched(split: GraphNode) -> _Ending | None:
    """What a split into log depth and normals belongs to, if it is one."""
    if split.get_type_name() != "VariadicSplit" or not _takes(split, 1, 1):
        return None
    lengths, enlarged = constant_of(split.input_value(2)), split.input_value(0)
    if lengths is None or lengths.tolist() != [1, 3] or not _is_bilinear(enlarged.get_node()):
        return None
    power = _only_reader(split.output(0), "Exp")
    normals = _normalised(split.output(1))
    if power is None or normals is None or not is_only_way([enlarged.get_node(), split]):
        return None
    _, _, height, width = (int(str(side)) for side in enlarged.get_partial_shape())
    maps, (end, least) = enlarged.get_node().input_value(0), normals
    return _Ending(maps, _Form(height, width, least), power.output(0), end.output(0))


def _is_bilinear(node: GraphNode) -> bool:
    if node.get_type_name() != "Interpolate":
        return False
    attributes = node.get_attributes()
    return all(attributes[name] == value for name, value in _BILINEAR.items())


def _normalised(vectors: GraphOutput) -> tuple[GraphNode, float] | None:
    """(node that gives the vectors with length one, channels last; the least length)."""
    readers = [reader.get_node() for reader in vectors.get_target_inputs()]
    quotients = [node for node in readers if node.get_type_name() == "Divide"]
    if len(readers) != 2 or len(quotients) != 1:
        return None
    (quotient,) = quotients
    way = way_back(quotient.input_value(1), ("Broadcast", "Minimum", "Maximum"))
    end = _only_reader(quotient.output(0), "Transpose")
    least, most = _bounds(way[1:])
    if end is None or least is None or most < _UNBOUNDED or not is_only_way([*way, quotient]):
        return None
    norm, order = way[0], constant_of(end.input_value(1))
    is_norm = norm.get_type_name() == "ReduceL2" and norm.input_value(0) == vectors
    if not is_norm or not _takes(norm, 1, 1) or order is None or order.tolist() != [0, 2, 3, 1]:
        return None
    return end, least


def _bounds(way: Sequence[GraphNode]) -> tuple[float | None, float]:
    """The limits between which nodes keep a value; (None, ...) if there is no lower one."""
    least, most = None, float("inf")
    for node in way:
        sides = [constant_of(node.input_value(at)) for at in (0, 1)]
        values = [each.item() for each in sides if each is not None and each.size == 1]
        if node.get_type_name() == "Maximum" and len(values) == 1:
            least = values[0]
        elif node.get_type_name() == "Minimum" and len(values) == 1:
            most = values[0]
    return least, most


def _takes(node: GraphNode, position: int, value: int) -> bool:
    """Whether an input is that one number."""
    constant = constant_of(node.input_value(position))
    return constant is not None and constant.size == 1 and constant.item() == value


def _only_reader(output: GraphOutput, kind: str) -> GraphNode | None:
    readers = [reader.get_node() for reader in output.get_target_inputs()]
    if len(reader_names(output)) != 1 or readers[0].get_type_name() != kind:
        return None
    return readers[0]
