"""Which products are halved, and that nothing else is: types, and numbers by onnx's definition."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pag_ros.runtime.tensorrt.half_products import halve_products

SIZE = 6
RANDOM = np.random.default_rng(0)
WEIGHTS = {name: RANDOM.normal(size=(SIZE, SIZE)).astype(np.float32) for name in "abcde"}
CONSTANTS = {
    **WEIGHTS,
    "score": RANDOM.normal(size=(SIZE, 1)).astype(np.float32),
    "bias": RANDOM.normal(size=SIZE).astype(np.float32),
    "k": np.array([2], np.int64),
    "flat": np.array([1, 1, SIZE, SIZE], np.int64),
    "double": np.array([1, 1, 2, 2], np.float32),
    "filter": RANDOM.normal(size=(1, 1, 3, 3)).astype(np.float32),
}


def network() -> list[NodeProto]:
    """A trunk with a choice of rows in it, and a head that enlarges."""

    def node(kind: str, inputs: str, outputs: str, **attributes: object) -> NodeProto:
        names = ["" if name == "-" else name for name in inputs.split()]
        return helper.make_node(kind, names, outputs.split(), **attributes)

    return [
        node("MatMul", "x a", "linear"),
        node("Add", "linear bias", "biased"),
        node("Add", "x biased", "sum"),
        node("MatMul", "sum score", "scores"),
        node("Transpose", "scores", "row", perm=[1, 0]),
        node("TopK", "row k", "best which", axis=1),
        node("Gather", "sum which", "rows"),
        node("MatMul", "rows b", "mixed"),
        node("Softmax", "mixed", "weights", axis=-1),
        node("MatMul", "weights c", "chosen"),
        node("ReduceMean", "chosen", "mean", keepdims=0, axes=[1]),
        node("Add", "sum mean", "all"),
        node("MatMul", "all d", "feature"),
        node("Reshape", "feature flat", "picture"),
        node("Conv", "picture filter", "small", pads=[1] * 4),
        node("Relu", "small", "positive"),
        node("Resize", "positive - double", "large", mode="linear"),
        node("Conv", "large filter", "y", pads=[1] * 4),
    ]


def as_model(nodes: list[NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE, SIZE])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2 * SIZE, 2 * SIZE])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return {each.name: each.type.tensor_type.elem_type for each in inferred.graph.value_info}


@pytest.fixture(scope="module")
def halved() -> onnx.ModelProto:
    constants = dict(CONSTANTS)
    return as_model(halve_products(network(), constants), constants)


def test_products_are_halved_and_what_is_added_to_them(halved: onnx.ModelProto) -> None:
    found = types(halved)
    half = {name for name, kind in found.items() if kind == TensorProto.FLOAT16}
    named = {name for name in half if "@" not in name}
    assert named == {
        *("linear", "biased", "mixed", "chosen", "feature", "picture", "small"),
        *("positive", "large"),
    }


def test_scores_sums_softmax_and_what_follows_the_enlargement_stay_single(
    halved: onnx.ModelProto,
) -> None:
    found = types(halved)
    for name in ("sum", "scores", "row", "best", "rows", "weights", "mean", "all"):
        assert found[name] == TensorProto.FLOAT, name
    last = halved.graph.node[-1]
    assert (last.op_type, list(last.input)) == ("Conv", ["large@full", "filter"])


def test_sizes_and_scales_of_constants_keep_their_type(halved: onnx.ModelProto) -> None:
    constants = {each.name: each.data_type for each in halved.graph.initializer}
    assert constants["double"] == TensorProto.FLOAT
    assert constants["flat"] == constants["k"] == TensorProto.INT64
    assert constants["score"] == TensorProto.FLOAT
    assert {name for name in constants if name.endswith("@half")} == {
        f"{name}@half" for name in ("a", "b", "c", "d", "bias", "filter")
    }


def test_a_tensor_is_cast_once_for_all_who_read_it() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"]),
        helper.make_node("MatMul", ["x", "b"], ["q"]),
        helper.make_node("Exp", ["p"], ["r"]),
        helper.make_node("Log", ["p"], ["s"]),
        helper.make_node("Resize", ["q", "", "double"], ["y"]),
    ]
    nodes.insert(4, helper.make_node("Resize", ["p", "", "double"], ["z"]))
    casts = [node for node in halve_products(nodes, dict(CONSTANTS)) if node.op_type == "Cast"]
    assert sorted(node.output[0] for node in casts) == ["p@full", "x@half"]


def test_the_numbers_are_those_of_the_graph(halved: onnx.ModelProto) -> None:
    x = RANDOM.normal(size=(SIZE, SIZE)).astype(np.float32)
    (expected,) = ReferenceEvaluator(as_model(network(), CONSTANTS)).run(None, {"x": x})
    (found,) = ReferenceEvaluator(halved).run(None, {"x": x})
    assert found.dtype == np.float32
    deviation = np.abs(found - expected).max() / expected.std()
    assert 0.0 < deviation < 0.01
