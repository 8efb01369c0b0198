"""The `pag` operators inside OpenVINO: its ONNX front end makes them, our kernels compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.frontend.onnx import ConversionExtension

from pag_ros import kernels
from pag_ros.kernels import Activation, Branch, Precision, QuantizedBranch, Workspace
from pag_ros.kernels.quantizing import Ranges, Weights, can_be_quantized, quantized_branch
from pag_ros.runtime.frame_clock import THRESHOLD, FrameClock
from pag_ros.runtime.openvino.api import (
    AttributeVisitor,
    GraphOutput,
    HostTensor,
    OnnxNode,
)
from pag_ros.runtime.openvino.graph_ways import constant_of

DOMAIN = "pag"
_ACTIVATIONS: dict[int, Activation] = {0: "none", 1: "relu", 6: "relu6"}
"""Values of the attribute `relu`."""


class Operators:
    """Makes the operators of one session, and lets go of them when it ends.

    Args:
        clock: of the session's frames.
        workspace: of the kernels.
        precision: of the gated convolutions that have no ranges.
    """

    def __init__(
        self, clock: FrameClock, workspace: Workspace, precision: Precision = "fp32"
    ) -> None:
        self.clock = clock
        self.workspace = workspace
        self.precision: Precision = precision
        self.made: list[Operator] = []

    def extensions(self) -> list[ConversionExtension]:
        """What `openvino.Core.add_extension` takes."""
        return [
            ConversionExtension("Select", DOMAIN, self._convert_select),
            ConversionExtension("SparseConv", DOMAIN, self._convert_sparse_conv),
            ConversionExtension("Classify", DOMAIN, self._convert_classify),
            ConversionExtension(
                "End", DOMAIN, lambda node: End([node.get_input(0)], self).results()
            ),
        ]

    def convolutions(self) -> list[SparseConv]:
        """Those that are in the graph."""
        found = [op for op in self.made if isinstance(op, SparseConv)]
        return [op for op in found if op.get_input_size() > 0]

    def join_convolutions(self) -> None:
        """Join convolutions that follow one another at the same pixels into one operator each.

        What lies between them then stays in the cache, and OpenVINO calls us once a block. To be
        called when the model is read, before it is compiled.
        """
        convs = {op.get_friendly_name(): op for op in self.convolutions()}
        for conv in convs.values():
            before = convs.get(conv.input_value(0).get_node().get_friendly_name())
            if before is not None and before.may_lead_into(conv):
                conv.take_over(before)

    def take_ranges(self, ranges: Mapping[str, Ranges]) -> None:
        """Let convolutions compute in 8 bits.

        To be called before they are joined; of joined ones all have ranges or none of them counts.

        Args:
            ranges: of the input of convolutions, by the name of their node.
        """
        for convolution in self.convolutions():
            convolution.take_ranges(ranges.get(convolution.get_friendly_name()))

    def resize(self, height: int, width: int) -> None:
        """Make the operators with a size of their own fit a graph of that input size."""
        for operator in self.made:
            if isinstance(operator, Classify):
                operator.resize(height, width)

    def release(self) -> None:
        """Cut the operators off the model's graph, after everything compiled from it is gone.

        An `openvino.Op` owns its Python object and the other way round, so neither is ever freed;
        with its inputs it would keep the whole model in memory.
        """
        for operator in self.made:
            operator.cut_off()
            operator.__dict__.clear()
        self.made.clear()

    def _convert_select(self, node: OnnxNode) -> list[GraphOutput]:
        stage = node.get_attribute("stage")
        if stage not in self.clock.blocks:
            raise ValueError(f"the manifest has no gated block {stage!r}")
        inputs = [node.get_input(position) for position in range(3)]
        return Select(inputs, stage, self).results()

    def _convert_classify(self, node: OnnxNode) -> list[GraphOutput]:
        size = (node.get_attribute("height"), node.get_attribute("width"))
        return Classify([node.get_input(0)], size, self).results()

    def _convert_sparse_conv(self, node: OnnxNode) -> list[GraphOutput]:
        given = [node.get_input(position) for position in range(node.get_input_size())]
        x, index, count, weight, bias, *optional = given
        present = [value if _is_present(value) else None for value in optional]
        base, dilation_map, *_ = [*present, None, None]
        weights = _constant(weight, "weight")
        kernel = node.get_attribute("kernel")
        if weights.ndim != 4 or weights.shape[1] != kernel:
            raise ValueError(f"attribute kernel is {kernel}, the weight is {weights.shape}")
        relu = node.get_attribute("relu", 0)
        if relu not in _ACTIVATIONS:
            raise ValueError(f"attribute relu must be one of {[*_ACTIVATIONS]}, got {relu}")
        convolution = Weights(
            weights,
            _constant(bias, "bias"),
            dilation=node.get_attribute("dilation", 1),
            by_map=dilation_map is not None,
            depthwise=bool(node.get_attribute("depthwise", 0)),
            activation=_ACTIVATIONS[relu],
        )
        form = BranchForm(
            convolutions=(convolution,),
            residual=bool(node.get_attribute("residual", 0)),
            has_base=base is not None,
            has_dilation_map=dilation_map is not None,
        )
        inputs = [x, index, count, *(value for value in (base, dilation_map) if value is not None)]
        return SparseConv(inputs, form, self).results()


def _is_present(value: GraphOutput) -> bool:
    """Whether an optional ONNX input was given; the front end puts a NullNode where it was not."""
    return bool(value.get_node().get_type_name() != "NullNode")


def _constant(value: GraphOutput, name: str) -> NDArray[np.float32]:
    values = constant_of(value)
    if values is None:
        raise ValueError(f"{name} of a SparseConv must be a constant")
    return values


@dataclass(frozen=True)
class BranchForm:
    """What a SparseConv computes, and which of its optional inputs are there."""

    convolutions: tuple[Weights, ...]
    residual: bool
    has_base: bool
    has_dilation_map: bool
    ranges: tuple[Ranges | None, ...] = (None,)
    """Of each convolution's input, where they are known."""

    def known_ranges(self) -> tuple[Ranges, ...] | None:
        """What `quantized` needs, or None if it cannot compute in 8 bits."""
        known = tuple(each for each in self.ranges if each is not None)
        whole = len(known) == len(self.convolutions)
        return known if whole and can_be_quantized(self.convolutions) else None

    def quantized(self, ranges: Sequence[Ranges]) -> QuantizedBranch:
        """The convolutions in 8 bits, with these ranges of their inputs."""
        return quantized_branch(self.convolutions, ranges, self.residual)

    def quantized_reading(self, x: Ranges) -> QuantizedBranch:
        """The same with other ranges of the first input; those of the others are known."""
        return self.quantized((x, *(self.known_ranges() or ())[1:]))

    def exact(self, precision: Precision) -> Branch:
        """The convolutions in floats."""
        return Branch([each.packed() for each in self.convolutions], self.residual, precision)


class Operator(ov.Op):  # type: ignore[misc]
    """What all operators have in common: OpenVINO asks Python to compute them."""

    def __init__(self, inputs: Sequence[GraphOutput], owner: Operators) -> None:
        super().__init__(self)
        self.owner = owner
        owner.made.append(self)
        self.set_arguments(inputs)
        self.constructor_validate_and_infer_types()

    def has_evaluate(self) -> bool:
        return True

    def results(self) -> list[GraphOutput]:
        """Return what other nodes may read of it."""
        outputs: list[GraphOutput] = self.outputs()
        return outputs

    def cut_off(self) -> None:
        """Read nothing any more."""
        self.set_arguments([])


class Select(Operator):
    """pag.Select: (score [1,h,w], keep [], limits [3]) -> (index [h*w], count [1])."""

    def __init__(self, inputs: Sequence[GraphOutput], stage: str, owner: Operators) -> None:
        self.stage = stage
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        _, height, width = self.get_input_shape(0)
        self.set_output_size(2)
        self.set_output_type(0, ov.Type.i32, ov.PartialShape([height * width]))
        self.set_output_type(1, ov.Type.i32, ov.PartialShape([1]))

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> Select:
        return Select(inputs, self.stage, self.owner)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        visitor.on_attributes({"stage": self.stage})
        return True

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        score, keep, limits = (tensor.data for tensor in inputs)
        index, count = (tensor.data for tensor in outputs)
        wanted = int(keep)
        if limits[THRESHOLD] > -np.inf:
            wanted = min(wanted, int(np.count_nonzero(score > limits[THRESHOLD])))
        count[0] = self.owner.clock.begin_block(self.stage, wanted, limits)
        kernels.select(score[0], int(count[0]), out=index)
        return True


class SparseConv(Operator):
    """pag.SparseConv or several joined: (x, index, count [, base] [, dilation_map]) -> [1,h,w,N].

    Weights and biases are constants: packed once, they are no inputs any more.
    """

    def __init__(
        self,
        inputs: Sequence[GraphOutput],
        form: BranchForm,
        owner: Operators,
        packed: Branch | QuantizedBranch | None = None,
    ) -> None:
        self.form = form
        self._packed = packed
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        _, height, width, channels = self.get_input_shape(0)
        wanted = self.form.convolutions[0].inputs
        if channels != wanted:
            raise ValueError(f"a SparseConv for {wanted} channels gets {channels}")
        outputs = self.form.convolutions[-1].outputs
        self.set_output_size(1)
        self.set_output_type(0, ov.Type.f32, ov.PartialShape([1, height, width, outputs]))

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> SparseConv:
        return SparseConv(inputs, self.form, self.owner, self.branch)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        visitor.on_attributes({"convolutions": len(self.form.convolutions)})
        return True

    @property
    def branch(self) -> Branch | QuantizedBranch:
        """What computes it, packed once its form is settled: when the graph is compiled."""
        if self._packed is None:
            ranges = self.form.known_ranges()
            if ranges is None:
                self._packed = self.form.exact(self.owner.precision)
            else:
                self._packed = self.form.quantized(ranges)
        return self._packed

    def take_ranges(self, ranges: Ranges | None) -> None:
        """Compute in 8 bits; `ranges` are of the input of its one convolution."""
        self.form = replace(self.form, ranges=(ranges,))

    def may_lead_into(self, following: SparseConv) -> bool:
        """Whether `following` alone reads this result, at the same pixels, and zero elsewhere."""
        same_pixels = self.input_value(1) == following.input_value(1)
        only_reader = len(self.output(0).get_target_inputs()) == 1
        one_map = not (self.form.has_dilation_map and following.form.has_dilation_map)
        return same_pixels and only_reader and one_map and not self.form.has_base

    def take_over(self, before: SparseConv) -> None:
        """Compute what `before` computes as well, and read its input in place of its output."""
        own, earlier = self.form, before.form
        x = before.input_value(0)
        index, count, *optional = (self.input_value(at) for at in range(1, self.get_input_size()))
        if earlier.has_dilation_map:
            optional.append(before.input_value(before.get_input_size() - 1))
        self.form = BranchForm(
            convolutions=earlier.convolutions + own.convolutions,
            residual=own.residual,
            has_base=own.has_base,
            has_dilation_map=own.has_dilation_map or earlier.has_dilation_map,
            ranges=earlier.ranges + own.ranges,
        )
        self.set_arguments([x, index, count, *optional])
        self.constructor_validate_and_infer_types()
        before.cut_off()

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        x, index, count, *optional = (tensor.data for tensor in inputs)
        self.branch(
            x[0],
            index,
            int(count[0]),
            base=optional.pop(0)[0] if self.form.has_base else None,
            dilation_map=optional.pop(0) if self.form.has_dilation_map else None,
            out=outputs[0].data[0],
            workspace=self.owner.workspace,
        )
        self.owner.clock.end_gated()
        return True


class End(Operator):
    """pag.End: x -> x, where gated work ends that no operator of ours computes."""

    def validate_and_infer_types(self) -> None:
        self.set_output_type(0, self.get_input_element_type(0), self.get_input_partial_shape(0))

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> End:
        return End(inputs, self.owner)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        return True

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        outputs[0].data[...] = inputs[0].data
        self.owner.clock.end_gated()
        return True


class Classify(Operator):
    """pag.Classify: logits [1,K,h,w] -> (labels [1,H,W], confidence [1,H,W])."""

    def __init__(
        self, inputs: Sequence[GraphOutput], size: tuple[int, int], owner: Operators
    ) -> None:
        self._size = size
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        self.set_output_size(2)
        self.set_output_type(0, ov.Type.u8, ov.PartialShape([1, *self._size]))
        self.set_output_type(1, ov.Type.f32, ov.PartialShape([1, *self._size]))

    def resize(self, height: int, width: int) -> None:
        """Give labels at that size."""
        self._size = (height, width)

    def clone_with_new_inputs(self, inputs: Sequence[GraphOutput]) -> Classify:
        return Classify(inputs, self._size, self.owner)

    def visit_attributes(self, visitor: AttributeVisitor) -> bool:
        visitor.on_attributes({"height": self._size[0], "width": self._size[1]})
        return True

    def evaluate(self, outputs: Sequence[HostTensor], inputs: Sequence[HostTensor]) -> bool:
        labels, confidence = (tensor.data[0] for tensor in outputs)
        kernels.classify(
            inputs[0].data[0],
            *self._size,
            labels=labels,
            confidence=confidence,
            workspace=self.owner.workspace,
        )
        return True
