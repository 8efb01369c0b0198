"""The `pag` operators inside OpenVINO: its ONNX front end makes them, our kernels compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import openvino as ov
from openvino.frontend.onnx import ConversionExtension

from pag_ros import kernels
from pag_ros.kernels import Workspace
from pag_ros.runtime.frame_clock import FrameClock

DOMAIN = "pag"


class Operators:
    """Makes the operators of one session, and lets go of them when it ends.

    Args:
        clock: of the session's frames.
        workspace: of the kernels.
    """

    def __init__(self, clock: FrameClock, workspace: Workspace) -> None:
        self.clock = clock
        self.workspace = workspace
        self.made: list[Any] = []

    def extensions(self) -> list[Any]:
        """What `openvino.Core.add_extension` takes."""
        return [
            ConversionExtension("Select", DOMAIN, self._convert_select),
            ConversionExtension("SparseConv", DOMAIN, self._convert_sparse_conv),
        ]

    def release(self) -> None:
        """Cut the operators off the model's graph, after everything compiled from it is gone.

        An `openvino.Op` owns its Python object and the other way round, so neither is ever freed;
        with its inputs it would keep the whole model in memory.
        """
        for operator in self.made:
            operator.set_arguments([])
            vars(operator).clear()
        self.made.clear()

    def _convert_select(self, node: Any) -> Any:
        stage = node.get_attribute("stage")
        if stage not in self.clock.blocks:
            raise ValueError(f"the manifest has no gated block {stage!r}")
        inputs = [node.get_input(position) for position in range(3)]
        return Select(inputs, stage, self).outputs()

    def _convert_sparse_conv(self, node: Any) -> Any:
        given = [node.get_input(position) for position in range(node.get_input_size())]
        present = [_is_present(value) for value in given] + [False, False]
        form = ConvForm(
            kernel=node.get_attribute("kernel"),
            dilation=node.get_attribute("dilation", 1),
            relu=bool(node.get_attribute("relu", 0)),
            residual=bool(node.get_attribute("residual", 0)),
            has_base=present[5],
            has_dilation_map=present[6],
        )
        inputs = [value for value in given if _is_present(value)]
        return SparseConv(inputs, form, self).outputs()


def _is_present(value: Any) -> bool:
    """Whether an optional ONNX input was given; the front end puts a NullNode where it was not."""
    return bool(value.get_node().get_type_name() != "NullNode")


@dataclass(frozen=True)
class ConvForm:
    """Attributes of a pag.SparseConv, and which of its optional inputs are there."""

    kernel: int
    dilation: int
    relu: bool
    residual: bool
    has_base: bool
    has_dilation_map: bool


class _Operator(ov.Op):  # type: ignore[misc]
    """What both operators have in common: OpenVINO asks Python to compute them."""

    def __init__(self, inputs: Sequence[Any], owner: Operators) -> None:
        super().__init__(self)
        self._owner = owner
        owner.made.append(self)
        self.set_arguments(inputs)
        self.constructor_validate_and_infer_types()

    def has_evaluate(self) -> bool:
        return True


class Select(_Operator):
    """pag.Select: (score [1,h,w], keep [], plan [2]) -> (index [h*w], count [1])."""

    def __init__(self, inputs: Sequence[Any], stage: str, owner: Operators) -> None:
        self._stage = stage
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        _, height, width = self.get_input_shape(0)
        self.set_output_size(2)
        self.set_output_type(0, ov.Type.i32, ov.PartialShape([height * width]))
        self.set_output_type(1, ov.Type.i32, ov.PartialShape([1]))

    def clone_with_new_inputs(self, inputs: Sequence[Any]) -> Select:
        return Select(inputs, self._stage, self._owner)

    def visit_attributes(self, visitor: Any) -> bool:
        visitor.on_attributes({"stage": self._stage})
        return True

    def evaluate(self, outputs: Any, inputs: Any) -> bool:
        score, keep, plan = (tensor.data for tensor in inputs)
        index, count = (tensor.data for tensor in outputs)
        count[0] = self._owner.clock.begin_block(self._stage, int(keep), plan)
        kernels.select(score[0], int(count[0]), out=index)
        return True


class SparseConv(_Operator):
    """pag.SparseConv: (x, index, count, weight, bias [, base] [, dilation_map]) -> y [1,h,w,N]."""

    def __init__(self, inputs: Sequence[Any], form: ConvForm, owner: Operators) -> None:
        self._form = form
        super().__init__(inputs, owner)

    def validate_and_infer_types(self) -> None:
        _, height, width, _ = self.get_input_shape(0)
        outputs, kernel = list(self.get_input_shape(3))[:2]
        if kernel != self._form.kernel:
            raise ValueError(f"attribute kernel is {self._form.kernel}, the weight's is {kernel}")
        self.set_output_size(1)
        self.set_output_type(0, ov.Type.f32, ov.PartialShape([1, height, width, outputs]))

    def clone_with_new_inputs(self, inputs: Sequence[Any]) -> SparseConv:
        return SparseConv(inputs, self._form, self._owner)

    def visit_attributes(self, visitor: Any) -> bool:
        visitor.on_attributes({name: int(value) for name, value in asdict(self._form).items()})
        return True

    def evaluate(self, outputs: Any, inputs: Any) -> bool:
        form = self._form
        x, index, count, weight, bias, *optional = (tensor.data for tensor in inputs)
        base = optional.pop(0)[0] if form.has_base else None
        kernels.sparse_conv2d(
            x[0],
            index,
            int(count[0]),
            weight,
            bias,
            base=base,
            dilation=form.dilation,
            dilation_map=optional.pop(0) if form.has_dilation_map else None,
            relu=form.relu,
            residual=form.residual,
            out=outputs[0].data[0],
            workspace=self._owner.workspace,
        )
        self._owner.clock.end_gated()
        return True
