"""The operators inside OpenVINO give what their definition gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from pag_ros.kernels import Workspace, reference
from pag_ros.runtime.frame_clock import FrameClock
from pag_ros.runtime.openvino.operators import Operators

HEIGHT, WIDTH, CHANNELS = 7, 9, 8
PIXELS = HEIGHT * WIDTH


class Graph:
    """One Select, then one SparseConv over it; runs on the CPU."""

    def __init__(
        self,
        kernel: int,
        has_base: bool,
        has_map: bool,
        precision: Any = "fp32",
        **attributes: int,
    ) -> None:
        rng = np.random.default_rng(3)
        shape = (CHANNELS, kernel, kernel, CHANNELS)
        self.weight = rng.normal(size=shape).astype(np.float32)
        self.bias = rng.normal(size=CHANNELS).astype(np.float32)
        self.clock = FrameClock(["only"])
        self.workspace = Workspace(1)
        core = ov.Core()
        for extension in Operators(self.clock, self.workspace, precision).extensions():
            core.add_extension(extension)
        model = self._model(kernel, has_base, has_map, attributes)
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(model, b""), "CPU", options)
        self._request = compiled.create_infer_request()

    def run(self, feeds: dict[str, Any]) -> dict[str, np.ndarray]:
        self.clock.start()
        self._request.infer(feeds)
        return {n: self._request.get_tensor(n).data.copy() for n in ("index", "count", "y")}

    def _model(self, kernel: int, has_base: bool, has_map: bool, attributes: Any) -> bytes:
        picture = [1, HEIGHT, WIDTH, CHANNELS]
        inputs = [
            ("x", TensorProto.FLOAT, picture),
            ("score", TensorProto.FLOAT, picture[:3]),
            ("keep", TensorProto.INT32, []),
            ("limits", TensorProto.FLOAT, [3]),
        ]
        if has_base:
            inputs.append(("base", TensorProto.FLOAT, picture))
        if has_map:
            inputs.append(("map", TensorProto.INT32, [PIXELS]))
        optional = ["base" if has_base else "", "map"] if has_map else ["base"] * has_base
        nodes = [
            helper.make_node(
                "Select",
                ["score", "keep", "limits"],
                ["index", "count"],
                domain="pag",
                stage="only",
            ),
            helper.make_node(
                "SparseConv",
                ["x", "index", "count", "weight", "bias", *optional],
                ["y"],
                domain="pag",
                kernel=kernel,
                **attributes,
            ),
        ]
        outputs = [
            ("index", TensorProto.INT32, [PIXELS]),
            ("count", TensorProto.INT32, [1]),
            ("y", TensorProto.FLOAT, picture),
        ]
        graph = helper.make_graph(
            nodes,
            "operators",
            [helper.make_tensor_value_info(*i) for i in inputs],
            [helper.make_tensor_value_info(*o) for o in outputs],
            [
                numpy_helper.from_array(self.weight, "weight"),
                numpy_helper.from_array(self.bias, "bias"),
            ],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pag", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())


def feeds(keep: int, **more: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    return {
        "x": rng.normal(size=(1, HEIGHT, WIDTH, CHANNELS)).astype(np.float32),
        "score": rng.normal(size=(1, HEIGHT, WIDTH)).astype(np.float32).round(1),
        "keep": np.array(keep, np.int32),
        "limits": np.array([np.inf, 1.0, -np.inf], np.float32),
        **more,
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("keep", [0, 1, 20, PIXELS])
@pytest.mark.parametrize(
    ("kernel", "has_base", "has_map", "attributes"),
    [
        (1, False, False, {}),
        (3, False, False, {"relu": 1}),
        (3, True, False, {"relu": 1, "residual": 1}),
        (3, True, False, {"dilation": 3}),
        (3, False, True, {"relu": 1}),
        (3, True, True, {}),
    ],
)
def test_a_graph_gives_what_the_definition_gives(
    kernel, has_base, has_map, attributes, keep, precision
):
    graph = Graph(kernel, has_base, has_map, precision, **attributes)
    rng = np.random.default_rng(5)
    values = feeds(keep)
    options: dict[str, Any] = {
        "activation": "relu" if attributes.get("relu") else "none",
        "residual": bool(attributes.get("residual")),
        "dilation": attributes.get("dilation", 1),
        "precision": precision,
    }
    if has_base:
        values["base"] = rng.normal(size=values["x"].shape).astype(np.float32)
        options["base"] = values["base"][0]
    if has_map:
        values["map"] = options["dilation_map"] = rng.integers(0, 4, PIXELS).astype(np.int32)
    result = graph.run(values)
    index = reference.select(values["score"][0], keep)
    assert result["count"] == [keep]
    assert result["index"][:keep].tolist() == index.tolist()
    expected = reference.sparse_conv2d(
        values["x"][0], index, keep, graph.weight, graph.bias, **options
    )
    np.testing.assert_allclose(result["y"][0], expected, atol=1e-4)


def test_a_late_block_computes_the_best_of_fewer_pixels():
    graph = Graph(3, False, False)
    values = feeds(40)
    values["limits"] = np.array([-0.5, 1e9, -np.inf], np.float32)
    barely_late = graph.run(values)
    assert barely_late["count"][0] == 39
    values["limits"] = np.array([-1e9, 2e9, -np.inf], np.float32)
    half = graph.run(values)
    assert half["count"][0] in (19, 20)
    count = int(half["count"][0])
    assert half["index"][:count].tolist() == reference.select(values["score"][0], count).tolist()


def test_an_unknown_stage_is_refused(tmp_path: Path):
    core = ov.Core()
    for extension in Operators(FrameClock(["other"]), Workspace(1)).extensions():
        core.add_extension(extension)
    graph = Graph(1, False, False)
    model = graph._model(1, False, False, {})
    assert onnx.load_from_string(model).graph.node[0].op_type == "Select"
    with pytest.raises(RuntimeError, match="no gated block 'only'"):
        core.read_model(model, b"")


CHAIN = ("expand", "depthwise", "project")
HIDDEN = 12


class Chain:
    """An MBConv block: three SparseConv over one Select, read with or without joining them."""

    def __init__(self, outputs: list[str], joined: bool, precision: Any = "fp32") -> None:
        self.precision = precision
        rng = np.random.default_rng(6)
        shapes = {
            "expand": (HIDDEN, 1, 1, CHANNELS),
            "depthwise": (HIDDEN, 3, 3, 1),
            "project": (CHANNELS, 1, 1, HIDDEN),
        }
        self.weights = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
        self.bias = {n: rng.normal(size=s[0]).astype(np.float32) for n, s in shapes.items()}
        self.operators = Operators(FrameClock(["only"]), Workspace(2), precision)
        core = ov.Core()
        for extension in self.operators.extensions():
            core.add_extension(extension)
        self.graph = core.read_model(self._model(outputs), b"")
        if joined:
            self.operators.join_convolutions()
        compiled = core.compile_model(self.graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()

    def convolutions_run(self) -> int:
        names = [node.get_type_name() for node in self.graph.get_ordered_ops()]
        return names.count("SparseConv")

    def run(self, values: dict[str, Any], output: str) -> np.ndarray:
        self._request.infer(values)
        return np.array(self._request.get_tensor(output).data)

    def expected(self, values: dict[str, Any], keep: int) -> np.ndarray:
        x = values["x"][0]
        index = reference.select(values["score"][0], keep)

        def conv(y: np.ndarray, name: str, **options: Any) -> np.ndarray:
            weight, bias = self.weights[name], self.bias[name]
            options["precision"] = self.precision
            return reference.sparse_conv2d(y, index, keep, weight, bias, **options)

        y = conv(x, "expand", activation="relu6")
        y = conv(y, "depthwise", activation="relu6", depthwise=True)
        return conv(y, "project", base=x, residual=True)

    def _model(self, outputs: list[str]) -> bytes:
        attributes = {
            "expand": {"kernel": 1, "relu": 6},
            "depthwise": {"kernel": 3, "relu": 6, "depthwise": 1},
            "project": {"kernel": 1, "residual": 1},
        }
        select = ["score", "keep", "limits"], ["index", "count"]
        nodes = [helper.make_node("Select", *select, domain="pag", stage="only")]
        x = "x"
        for name in CHAIN:
            inputs = [x, "index", "count", f"{name}.weight", f"{name}.bias"]
            inputs += ["x"] if name == "project" else []
            nodes.append(
                helper.make_node("SparseConv", inputs, [name], domain="pag", **attributes[name])
            )
            x = name
        picture = [1, HEIGHT, WIDTH]
        widths = {"expand": HIDDEN, "depthwise": HIDDEN, "project": CHANNELS}
        graph = helper.make_graph(
            nodes,
            "chain",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, [*picture, CHANNELS]),
                helper.make_tensor_value_info("score", TensorProto.FLOAT, picture),
                helper.make_tensor_value_info("keep", TensorProto.INT32, []),
                helper.make_tensor_value_info("limits", TensorProto.FLOAT, [3]),
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [*picture, widths[name]])
                for name in outputs
            ],
            [
                numpy_helper.from_array(values, f"{name}.{kind}")
                for kind, each in (("weight", self.weights), ("bias", self.bias))
                for name, values in each.items()
            ],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pag", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())


# Between bf16 convolutions the order of a sum may decide to which side its result is rounded.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.1)])
@pytest.mark.parametrize("keep", [0, 1, 20, PIXELS])
def test_convolutions_at_the_same_pixels_are_joined_and_give_the_same(keep, precision, tolerance):
    values = feeds(keep)
    chain = Chain(["project"], joined=True, precision=precision)
    assert chain.convolutions_run() == 1
    y = chain.run(values, "project")
    np.testing.assert_allclose(y[0], chain.expected(values, keep), atol=tolerance)
    alone = Chain(["project"], joined=False, precision=precision)
    assert alone.convolutions_run() == 3
    np.testing.assert_allclose(y, alone.run(values, "project"), atol=1e-5)


def test_a_result_that_somebody_else_reads_is_still_computed():
    values = feeds(20)
    chain = Chain(["project", "expand"], joined=True)
    assert chain.convolutions_run() == 2
    np.testing.assert_allclose(
        chain.run(values, "project")[0], chain.expected(values, 20), atol=1e-4
    )
    assert chain.run(values, "expand").any()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"kernel": 5}, "attribute kernel is 5"), ({"relu": 2}, "attribute relu must be one of")],
)
def test_wrong_attributes_are_refused(attributes, message):
    chain = Chain(["project"], joined=False)
    model = onnx.load_from_string(chain._model(["project"]))
    for attribute in model.graph.node[1].attribute:
        attribute.i = attributes.get(attribute.name, attribute.i)
    core = ov.Core()
    for extension in chain.operators.extensions():
        core.add_extension(extension)
    with pytest.raises(RuntimeError, match=message):
        core.read_model(model.SerializeToString(), b"")


def test_weights_that_are_no_constants_are_refused():
    chain = Chain(["project"], joined=False)
    model = onnx.load_from_string(chain._model(["project"]))
    model.graph.node[1].input[3] = "x"
    core = ov.Core()
    for extension in chain.operators.extensions():
        core.add_extension(extension)
    with pytest.raises(RuntimeError, match="weight of a SparseConv must be a constant"):
        core.read_model(model.SerializeToString(), b"")


def test_classify_gives_what_its_definition_gives():
    logits = np.random.default_rng(7).normal(0, 3, (1, 5, 6, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node(
                "Classify", ["x"], ["labels", "confidence"], domain="pag", height=12, width=16
            )
        ],
        "classify",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, logits.shape)],
        [
            helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, 12, 16]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, [1, 12, 16]),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pag", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    core = ov.Core()
    for extension in Operators(FrameClock([]), Workspace(1)).extensions():
        core.add_extension(extension)
    compiled = core.compile_model(core.read_model(model, b""), "CPU")
    request = compiled.create_infer_request()
    request.infer({"x": logits})
    labels, confidence = reference.classify(logits[0], 12, 16)
    np.testing.assert_array_equal(request.get_tensor("labels").data[0], labels)
    np.testing.assert_allclose(request.get_tensor("confidence").data[0], confidence, atol=5e-6)
