"""Gated residual blocks as a graph has them: found, told apart, and as our kernels run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros import kernels
from pag_ros.kernels.quantizing import Ranges
from pag_ros.runtime.openvino.api import GraphNode, GraphOutput
from pag_ros.runtime.openvino.graph_ways import (
    constant_of,
    is_constant,
    is_only_way,
    reader_names,
    way_back,
)
from pag_ros.runtime.openvino.operators import (
    BranchForm,
    Operator,
    Operators,
    Select,
    SparseConv,
)
from pag_ros.runtime.openvino.projection import Projection, find_projection


@dataclass(frozen=True)
class Choice:
    """How a MultiPool chooses the dilation of each pixel, see `kernels.TrunkBlock`."""

    predictor: SparseConv
    dilations: tuple[int, ...]


@dataclass(frozen=True)
class GraphBlock:
    """A gated residual block as the graph has it.

    Attributes:
        select: what chooses its pixels.
        convolution: what it computes there, all of its convolutions joined.
        x: the map that it reads, and gives where it computes nothing and projects nothing.
        keep, plan: what `select` takes a row of, and which row that is.
        gate, gate_bias: of its scores.
        gate_name: of the node that reads x for them.
        choice: of its dilations, None where they are the same at all pixels.
        projection: None where x is the base of the convolution.
    """

    select: Select
    convolution: SparseConv
    x: GraphOutput
    keep: GraphOutput
    plan: GraphOutput
    row: int
    gate: NDArray[np.float32]
    gate_bias: float
    gate_name: str
    choice: Choice | None
    projection: Projection | None

    @property
    def y(self) -> GraphOutput:
        """The map that it gives."""
        return self.convolution.results()[0] if self.projection is None else self.projection.y

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those of our own that it consists of."""
        choosing = () if self.choice is None else (self.choice.predictor,)
        return (self.select, *choosing, self.convolution)

    def is_only_reader_of(self, y: GraphOutput) -> bool:
        """Whether no other node of the graph reads this output."""
        own = {self.gate_name, *(each.get_friendly_name() for each in self.operators)}
        if self.projection is not None:
            own |= self.projection.names
        return reader_names(y) <= own

    def leads_into(self, following: GraphBlock) -> bool:
        """Whether `following` goes on with the result, which nobody else reads."""
        return (
            following.x == self.y
            and following.keep == self.keep
            and following.plan == self.plan
            and following.is_only_reader_of(self.y)
        )

    @property
    def forms(self) -> tuple[BranchForm, ...]:
        """What reads x: the predictor, if there is one, and the convolutions."""
        return tuple(op.form for op in self.operators if isinstance(op, SparseConv))

    @property
    def outputs(self) -> int:
        """Channels of y."""
        return self.convolution.form.convolutions[-1].outputs

    def native(
        self, units: Ranges | None, biases: Mapping[str, Sequence[float]]
    ) -> kernels.TrunkBlock:
        """The block as our kernels run it.

        Args:
            units: the ranges of x if it is to be computed in 8 bits, else None.
            biases: see `Quantization`; of what is computed in 8 bits.
        """
        precision = self.select.owner.precision
        *predictors, branch = [
            form.exact(precision) if units is None else form.quantized_reading(units)
            for form in self.forms
        ]
        predictor = predictors[0] if predictors else None
        dilations = () if self.choice is None else self.choice.dilations
        projection = (
            None if self.projection is None else self.projection.native(units, precision, biases)
        )
        return kernels.TrunkBlock(
            self.gate, self.gate_bias, branch, predictor, dilations, projection
        )


def find_blocks(operators: Operators) -> list[GraphBlock]:
    """The gated residual blocks of a graph, in order of execution.

    One of another form is left out, and one of which anything between x and y is read by another
    node as well. To be called after `Operators.join_convolutions` and `simplify`: as it is
    read, a graph takes the shape of a convolution to add its bias.
    """
    convolutions = {op.get_friendly_name(): op for op in operators.convolutions()}
    selects = [op for op in operators.made if isinstance(op, Select)]
    found = [_matched(select, convolutions) for select in selects]
    return [block for block in found if block is not None]


def _matched(select: Select, convolutions: Mapping[str, SparseConv]) -> GraphBlock | None:
    """The block whose pixels a Select chooses, if it is one."""
    score = _linear_score(select)
    keep, plan = (_row(select.input_value(at)) for at in (1, 2))
    readers = reader_names(select.results()[0]) & convolutions.keys()
    if score is None or keep is None or plan is None or keep[1] != plan[1]:
        return None
    x, gate, gate_bias, gate_name = score
    index = select.results()[0]
    residuals = [
        convolutions[name] for name in readers if _is_residual(convolutions[name], x, index)
    ]
    if len(residuals) != 1:
        return None
    (convolution,) = residuals
    projection = None if convolution.input_value(3) == x else find_projection(convolution, x)
    if convolution.input_value(3) != x and projection is None:
        return None
    choice = _choice(convolution, x, convolutions)
    if convolution.form.has_dilation_map and choice is None:
        return None
    own = {convolution.get_friendly_name()}
    own |= set() if choice is None else {choice.predictor.get_friendly_name()}
    if readers != own:
        return None
    (keep_source, row), (plan_source, _) = keep, plan
    return GraphBlock(
        select=select,
        convolution=convolution,
        x=x,
        keep=keep_source,
        plan=plan_source,
        row=row,
        gate=gate,
        gate_bias=gate_bias,
        gate_name=gate_name,
        choice=choice,
        projection=projection,
    )


def _is_residual(convolution: SparseConv, x: GraphOutput, index: GraphOutput) -> bool:
    """Whether it adds what it computes of x at these pixels to another map, or to x itself."""
    read, at = (convolution.input_value(position) for position in (0, 1))
    return bool(convolution.form.has_base and read == x and at == index)


def _choice(
    convolution: SparseConv, x: GraphOutput, convolutions: Mapping[str, SparseConv]
) -> Choice | None:
    """What makes the dilation map: a table's entry at each pixel's largest output of a branch."""
    if not convolution.form.has_dilation_map:
        return None
    lookup = convolution.input_value(convolution.get_input_size() - 1).get_node()
    if lookup.get_type_name() != "GatherND":
        return None
    table = lookup.input_value(0).get_node()
    way = way_back(lookup.input_value(1), ("Unsqueeze", "Reshape", "Squeeze", "Convert"))
    best, *_ = way = [*way, lookup]
    if not (is_constant(table) and _is_argmax(best)):
        return None
    predictor = convolutions.get(best.input_value(0).get_node().get_friendly_name())
    if predictor is None or predictor.form.has_base or predictor.form.has_dilation_map:
        return None
    dilations = tuple(int(dilation) for dilation in table.data.ravel())
    outputs = predictor.form.convolutions[-1].outputs
    if predictor.input_value(0) != x or len(dilations) != outputs or min(dilations) < 0:
        return None
    return Choice(predictor, dilations) if is_only_way([predictor, *way, convolution]) else None


def _is_argmax(node: GraphNode) -> bool:
    if node.get_type_name() != "TopK":
        return False
    attributes, largest = node.get_attributes(), node.input_value(1).get_node()
    return attributes["mode"] == "max" and attributes["axis"] in (-1, 3) and largest.data == 1


def _linear_score(select: Select) -> tuple[GraphOutput, NDArray[np.float32], float, str] | None:
    """(x, gate [C], bias, name of the node that reads x) of scores that are a product with x."""
    taken = _gathered(select.input_value(0), axis=3)
    if taken is None or taken[0].get_node().get_type_name() != "Add":
        return None
    total = taken[0].get_node()
    product = total.input_value(0).get_node()
    if product.get_type_name() != "MatMul" or any(_transposes(product)):
        return None
    weights, bias = constant_of(product.input_value(1)), constant_of(total.input_value(1))
    if weights is None or bias is None or weights.shape[1:] != (1,) or bias.size != 1:
        return None
    if not is_only_way([product, total, select.input_value(0).get_node(), select]):
        return None
    return product.input_value(0), weights[:, 0].copy(), bias.item(), product.get_friendly_name()


def _transposes(product: GraphNode) -> tuple[bool, bool]:
    attributes = product.get_attributes()
    return bool(attributes["transpose_a"]), bool(attributes["transpose_b"])


def _row(value: GraphOutput) -> tuple[GraphOutput, int] | None:
    """(source, row) of a value that is a row of one of the model's inputs."""
    taken = _gathered(value, axis=0)
    if taken is None or taken[0].get_node().get_type_name() != "Parameter":
        return None
    return taken


def _gathered(value: GraphOutput, axis: int) -> tuple[GraphOutput, int] | None:
    """(source, place along the axis) of a value that is one slice of another."""
    node = value.get_node()
    if node.get_type_name() != "Gather":
        return None
    place, along = (node.input_value(at).get_node() for at in (1, 2))
    if not (is_constant(place) and is_constant(along)):
        return None
    if place.data.shape != () or int(along.data.ravel()[0]) != axis:
        return None
    return node.input_value(0), int(place.data)
