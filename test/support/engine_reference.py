"""Runs an engine graph in NumPy, its programs by their definition: slow, for tests only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from pag_ros.kernels import reference
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec
from pag_ros.runtime.tensorrt.graph import EngineGraph, plugin_name


def run(graph: EngineGraph, inputs: Mapping[str, Any], single: bool = False) -> dict[str, Any]:
    """Outputs by name. What a program leaves undefined is NaN, so that nobody may read it.

    Args:
        single: compute in float32, which NumPy does much faster.
    """
    proto = onnx.load_model_from_string(graph.onnx)
    if single:
        _widen(proto)
    specs = {spec.name: spec for spec in graph.specs}
    operators = [_operator(name, specs) for name in {plugin_name(s) for s in graph.specs}]
    evaluator = ReferenceEvaluator(proto, new_ops=operators)
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


def compute(spec: SelectSpec | ConvSpec, *inputs: Any) -> tuple[Any, ...]:
    """Outputs of a program in its order; what it leaves undefined is NaN, or no pixel."""
    return (_select if isinstance(spec, SelectSpec) else _convolve)(spec, *inputs)


def _operator(name: str, specs: Mapping[str, Any]) -> type[OpRun]:
    def _run(self: Any, *inputs: Any, program: str = "", **_: Any) -> tuple[Any, ...]:
        spec = specs[program]
        assert [np.shape(value) for value in inputs] == [t.shape for t in spec.inputs], program
        return compute(spec, *inputs)

    return type(name, (OpRun,), {"op_domain": "pag", "_run": _run})


def _select(spec: SelectSpec, score: Any, keep: Any, limits: Any, clock: Any) -> tuple[Any, ...]:
    assert score.dtype == np.float32
    assert limits[0] == np.inf, "trimming has tests of its own"
    chosen = reference.select(score[0], int(keep))
    index = np.full(spec.pixels, np.iinfo(np.int32).max, np.int32)
    index[: len(chosen)] = chosen
    slot = np.full(spec.pixels, -1, np.int32)
    slot[chosen] = np.arange(len(chosen))
    return index, slot, np.array([len(chosen)], np.int32), np.zeros(2, np.int32)


def _convolve(
    spec: ConvSpec, x: Any, index: Any, slot: Any, count: Any, weight: Any, bias: Any, *rest: Any
) -> tuple[Any]:
    more = list(rest)
    base = more.pop(0)[0].astype(np.float32) if spec.base else None
    listed = index[: int(count[0])]
    if spec.x_rows:
        image = np.zeros((spec.pixels, spec.channels), np.float32)
        image[listed] = x[: len(listed)]
        image = image.reshape(spec.height, spec.width, spec.channels)
    else:
        image = x[0].astype(np.float32)
    side = spec.kernel
    y = reference.sparse_conv2d(
        image,
        listed,
        len(listed),
        weight.astype(np.float32).reshape(side, side, spec.channels, -1).transpose(3, 0, 1, 2),
        bias,
        base=base,
        dilation=spec.dilation,
        dilation_map=more.pop(0) if spec.by_map else None,
        activation=spec.activation,
        residual=spec.residual,
    ).astype(x.dtype)
    if not spec.out_rows:
        return (y[None],)
    rows = np.full((spec.pixels, spec.features), np.nan, x.dtype)
    rows[: len(listed)] = y.reshape(spec.pixels, -1)[listed]
    return (rows,)


def _widen(proto: onnx.ModelProto) -> None:
    """Float32 in place of float16, everywhere."""
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for node in proto.graph.node:
        for attribute in node.attribute:
            if (
                node.op_type == "Cast"
                and helper.get_attribute_value(attribute) == TensorProto.FLOAT16
            ):
                attribute.i = TensorProto.FLOAT
