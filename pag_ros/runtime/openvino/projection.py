"""The projection beside a gated branch as a graph has it: found, and as our kernels run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pag_ros.kernels import Branch, Precision, QuantizedBranch
from pag_ros.kernels.quantizing import Ranges, Weights, quantized_branch
from pag_ros.runtime.openvino.api import GraphNode, GraphOutput
from pag_ros.runtime.openvino.graph_ways import constant_of, is_constant, is_only_way
from pag_ros.runtime.openvino.operators import SparseConv

_TO_CHANNELS_FIRST = [0, 3, 1, 2]
_TO_CHANNELS_LAST = [0, 2, 3, 1]


@dataclass(frozen=True)
class Projection:
    """What a block adds its branch to in place of x: relu(projection of x + branch).

    Attributes:
        weights: of the 1x1 convolution, which is computed everywhere.
        names: of the nodes that it stands for, the sum's ReLU among them.
        y: the map behind the ReLU.
    """

    weights: Weights
    names: frozenset[str]
    y: GraphOutput

    def native(
        self, units: Ranges | None, precision: Precision, biases: Mapping[str, Sequence[float]]
    ) -> Branch | QuantizedBranch:
        """It as our kernels run it, see `GraphBlock.native`."""
        if units is None:
            return Branch([self.weights.packed()], precision=precision)
        given = [np.array(biases[name], np.float32) for name in self.names & biases.keys()]
        bias = given[0] if given else self.weights.bias
        return quantized_branch([replace(self.weights, bias=bias)], [units], residual=False)


def find_projection(convolution: SparseConv, x: GraphOutput) -> Projection | None:
    """What a convolution with a base adds to, if that is a projection of x, and a ReLU follows."""
    base = convolution.input_value(3)
    turned = base.get_node()
    readers = convolution.results()[0].get_target_inputs()
    relu = next(iter(readers)).get_node() if len(readers) == 1 else None
    if relu is None or relu.get_type_name() != "Relu" or turned.get_type_name() != "Transpose":
        return None
    found = _pointwise(turned.input_value(0))
    is_base = _is_turned(base, turned.input_value(0), _TO_CHANNELS_LAST)
    if found is None or not is_base or not convolution.form.residual:
        return None
    weights, way = found
    source = way[0].input_value(0)
    if _is_turned(source, x, _TO_CHANNELS_FIRST):
        way = [source.get_node(), *way]
    elif not _is_turned(x, source, _TO_CHANNELS_LAST):
        return None
    way = [*way, turned, convolution, relu]
    if not is_only_way(way):
        return None
    names = {node.get_friendly_name() for node in way} - {convolution.get_friendly_name()}
    return Projection(weights, frozenset(names), relu.output(0))


def _pointwise(value: GraphOutput) -> tuple[Weights, list[GraphNode]] | None:
    """(weights, nodes) of a convolution that computes every pixel of that pixel alone."""
    node = value.get_node()
    way, bias = [node], None
    if node.get_type_name() == "Add":
        bias = constant_of(node.input_value(1))
        node = node.input_value(0).get_node()
        way = [node, *way]
    if node.get_type_name() != "Convolution":
        return None
    weight, attributes = constant_of(node.input_value(1)), node.get_attributes()
    padding = (*attributes["pads_begin"], *attributes["pads_end"])
    if weight is None or weight.shape[2:] != (1, 1) or any(padding):
        return None
    if attributes["strides"] != [1, 1] or (len(way) > 1 and bias is None):
        return None
    outputs, inputs = weight.shape[:2]
    shift = np.zeros(outputs, np.float32) if bias is None else bias.ravel()
    if shift.shape != (outputs,):
        return None
    return Weights(weight.reshape(outputs, 1, 1, inputs), shift), way


def _is_turned(value: GraphOutput, source: GraphOutput, order: Sequence[int]) -> bool:
    """Whether a value is another one with its axes in this order."""
    node = value.get_node()
    if node.get_type_name() != "Transpose" or node.input_value(0) != source:
        return False
    axes = node.input_value(1).get_node()
    return is_constant(axes) and bool(axes.data.tolist() == order)
