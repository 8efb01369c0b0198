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
from pag_ros.runtime.openvino_operators import Operators

HEIGHT, WIDTH, CHANNELS = 7, 9, 8
PIXELS = HEIGHT * WIDTH


class Graph:
    """One Select, then one SparseConv over it; runs on the CPU."""

    def __init__(self, kernel: int, has_base: bool, has_map: bool, **attributes: int) -> None:
        rng = np.random.default_rng(3)
        shape = (CHANNELS, kernel, kernel, CHANNELS)
        self.weight = rng.normal(size=shape).astype(np.float32)
        self.bias = rng.normal(size=CHANNELS).astype(np.float32)
        self.clock = FrameClock(["only"])
        self.workspace = Workspace(1)
        core = ov.Core()
        for extension in Operators(self.clock, self.workspace).extensions():
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
            ("plan", TensorProto.FLOAT, [2]),
        ]
        if has_base:
            inputs.append(("base", TensorProto.FLOAT, picture))
        if has_map:
            inputs.append(("map", TensorProto.INT32, [PIXELS]))
        optional = ["base" if has_base else "", "map"] if has_map else ["base"] * has_base
        nodes = [
            helper.make_node(
                "Select", ["score", "keep", "plan"], ["index", "count"], domain="pag", stage="only"
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
        "plan": np.array([np.inf, 1.0], np.float32),
        **more,
    }


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
def test_a_graph_gives_what_the_definition_gives(kernel, has_base, has_map, attributes, keep):
    graph = Graph(kernel, has_base, has_map, **attributes)
    rng = np.random.default_rng(5)
    values = feeds(keep)
    options: dict[str, Any] = {k: bool(v) for k, v in attributes.items() if k != "dilation"}
    options["dilation"] = attributes.get("dilation", 1)
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
    values["plan"] = np.array([-0.5, 1e9], np.float32)
    barely_late = graph.run(values)
    assert barely_late["count"][0] == 39
    values["plan"] = np.array([-1e9, 2e9], np.float32)
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
