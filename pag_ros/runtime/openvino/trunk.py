"""Gated blocks that follow one another become one operator, which is left once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import pairwise
from types import MappingProxyType

import openvino as ov

from pag_ros import kernels
from pag_ros.kernels.quantizing import Ranges
from pag_ros.runtime.openvino.api import AttributeVisitor, GraphOutput, HostTensor
from pag_ros.runtime.openvino.gated_blocks import GraphBlock, find_blocks
from pag_ros.runtime.openvino.graph_ways import move_readers
from pag_ros.runtime.openvino.operators import BranchForm, Operator, Operators


def join_blocks(
    operators: Operators, biases: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> frozenset[str]:
    """Let one `TrunkOperator` compute gated blocks that follow one another.

    OpenVINO then calls us once for all of them, and a map stays where it is until a projection
    makes another one of it. A block of another form stays as it is. To be called when `find_blocks`
    may be.

    Args:
        biases: see `Quantization`.

    Returns:
        The names of the graph's own nodes that are computed by us now.
    """
    taken: set[str] = set()
    for blocks in _chains(find_blocks(operators)):
        first = blocks[0]
        # Not first.x: the block that gave it may have been replaced.
        x = first.convolution.input_value(0)
        packed = _packed(blocks, biases)
        _replace(blocks, TrunkOperator([x, first.keep, first.plan], blocks, operators, packed))
        taken.update(*(block.projection.names for block in blocks if block.projection is not None))
    return frozenset(taken)


class TrunkOperator(Operator):
    """(x [1,h,w,C], keep [B], plan [B,3]) -> (y [1,h,w,N], L index [h*w], L count [1]).

    L of the model's B gated blocks. Their weights are no inputs any more.
    """

    def __init__(
        self,
        inputs: Sequence[GraphOutput],
        blocks: Sequence[GraphBlock],
        owner: Operators,
        packed: kernels.Trunk,
    ) -> None:
        self.blocks = blocks
        self._rows = [block.row for block in blocks]
        self._stages = [block.select.stage for block in blocks]
        self._packed = packed
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        _, height, width, _ = self.get_input_shape(0)
        size = len(self.blocks)
        self.set_output_size(1 + 2 * size)
        shape = ov.PartialShape([1, height, width, self.blocks[-1].outputs])
        self.set_output_type(0, ov.Type.f32, shape)
        for at in range(1, 1 + size):
            self.set_output_type(at, ov.Type.i32, ov.PartialShape([height * width]))
            self.set_output_type(at + size, ov.Type.i32, ov.PartialShape([1]))

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> TrunkOperator:
        return TrunkOperator(inputs, self.blocks, self.owner, self._packed)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        visitor.on_attributes({"blocks": len(self.blocks)})
        return True

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        x, keep, plan = (tensor.data for tensor in inputs)
        y, *lists = (tensor.data for tensor in outputs)
        size = len(self.blocks)
        counts, (*began, ended) = self._packed(
            x[0],
            keep[self._rows],
            plan[self._rows],
            self.owner.clock.elapsed(),
            index=lists[:size],
            out=y[0],
            workspace=self.owner.workspace,
        )
        for target, count in zip(lists[size:], counts, strict=True):
            target[0] = count
        self.owner.clock.record(self._stages, began, ended)
        return True


def _packed(blocks: Sequence[GraphBlock], biases: Mapping[str, Sequence[float]]) -> kernels.Trunk:
    native: list[kernels.TrunkBlock] = []
    for readers in _readers_of_each_map(blocks):
        units = common_units([form for block in readers for form in block.forms])
        native += [block.native(units, biases) for block in readers]
    return kernels.Trunk(native)


def _readers_of_each_map(blocks: Sequence[GraphBlock]) -> Iterator[Sequence[GraphBlock]]:
    ends = [at + 1 for at, block in enumerate(blocks) if block.projection is not None]
    for first, end in pairwise(sorted({0, *ends, len(blocks)})):
        yield blocks[first:end]


def common_units(forms: Sequence[BranchForm]) -> Ranges | None:
    """The ranges of all first inputs together; None if some branch cannot compute in 8 bits.

    They read and write one rounded map, which a lone convolution could not.
    """
    ranges = [form.known_ranges() for form in forms if len(form.convolutions) > 1]
    known = [each for each in ranges if each is not None]
    if len(known) < len(forms):
        return None
    return reduce(Ranges.joined, (each[0] for each in known))


def _chains(blocks: Sequence[GraphBlock]) -> Iterator[list[GraphBlock]]:
    """Blocks that follow one another, together; they are in order of execution."""
    chain: list[GraphBlock] = list(blocks[:1])
    for before, block in pairwise(blocks):
        if not before.leads_into(block):
            yield chain
            chain = []
        chain.append(block)
    if chain:
        yield chain


def _replace(blocks: Sequence[GraphBlock], trunk: TrunkOperator) -> None:
    y, *lists = trunk.results()
    move_readers(blocks[-1].y, y)
    for block, index, count in zip(blocks, lists, lists[len(blocks) :], strict=False):
        for old, new in zip(block.select.results(), (index, count), strict=True):
            move_readers(old, new)
    for block in blocks:
        for operator in block.operators:
            operator.cut_off()
