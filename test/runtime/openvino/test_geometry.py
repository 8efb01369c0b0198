"""The ending of depth and normals is one operator, and gives what it gave in seven."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from pag_ros.kernels import Workspace
from pag_ros.runtime.frame_clock import FrameClock
from pag_ros.runtime.openvino.geometry import join_geometry
from pag_ros.runtime.openvino.operators import Operators

SMALL, LARGE = (6, 8), (12, 16)
MAPS = np.random.default_rng(2).normal(0.3, 1, (1, 4, *SMALL)).astype(np.float32)
MAPS[0, 1:, 2:5, 2:5] = 0.0


class Ending:
    """What the exporter writes behind the heads.

    Args:
        joined: whether it is made one operator.
        changes: of nodes: name -> what replaces an input ({position: name}) or an attribute.
        extra: name of an inner map that is an output as well, with its channels.
    """

    def __init__(
        self,
        joined: bool,
        changes: dict[str, dict[Any, Any]] | None = None,
        extra: tuple[str, int] | None = None,
    ) -> None:
        outputs = [("depth", [1, 1, *LARGE]), ("normals", [1, *LARGE, 3])]
        if extra is not None:
            outputs.append((extra[0], [1, extra[1], *LARGE]))
        operators = Operators(FrameClock([]), Workspace(1))
        core = ov.Core()
        self.graph = core.read_model(self._model(changes or {}, outputs), b"")
        if joined:
            join_geometry(self.graph, operators)
            self.graph.validate_nodes_and_infer_types()
        compiled = core.compile_model(self.graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        self._names = [name for name, _ in outputs]

    def kinds(self) -> list[str]:
        return [op.get_type_name() for op in self.graph.get_ordered_ops()]

    def is_joined(self) -> bool:
        return "EnlargeGeometry" in self.kinds()

    def run(self) -> dict[str, Any]:
        self._request.infer({"maps": MAPS})
        return {name: self._request.get_tensor(name).data.copy() for name in self._names}

    def _model(self, changes: dict[str, dict[Any, Any]], outputs: list[Any]) -> bytes:
        linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        nodes = {
            "resize": (["maps", "", "", "sizes"], ["large"], linear),
            "split": (["large", "lengths"], ["log", "vectors"], {"axis": 1}),
            "exp": (["log"], ["depth"], {}),
            "norm": (["vectors", "channels"], ["length"], {"keepdims": 1}),
            "clip": (["length", "least"], ["clipped"], {}),
            "expand": (["clipped", "whole"], ["divisor"], {}),
            "div": (["vectors", "divisor"], ["unit"], {}),
            "last": (["unit"], ["normals"], {"perm": [0, 2, 3, 1]}),
        }
        kinds = {"resize": "Resize", "split": "Split", "exp": "Exp", "norm": "ReduceL2"}
        kinds |= {"clip": "Clip", "expand": "Expand", "div": "Div", "last": "Transpose"}
        made = []
        for name, (inputs, results, attributes) in nodes.items():
            change = changes.get(name, {})
            inputs += [change[len(inputs)]] if len(inputs) in change else []
            inputs = [change.get(at, source) for at, source in enumerate(inputs)]
            attributes |= {key: value for key, value in change.items() if isinstance(key, str)}
            made.append(helper.make_node(kinds[name], inputs, results, name=name, **attributes))
        constants = {
            "sizes": np.array([1, 4, *LARGE], np.int64),
            "lengths": np.array([1, 3], np.int64),
            "channels": np.array([1], np.int64),
            "least": np.array(0.25, np.float32),
            "one": np.array(1.0, np.float32),
            "whole": np.array([1, 3, *LARGE], np.int64),
        }
        graph = helper.make_graph(
            made,
            "ending",
            [helper.make_tensor_value_info("maps", TensorProto.FLOAT, MAPS.shape)],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs],
            [numpy_helper.from_array(values, name) for name, values in constants.items()],
        )
        opsets = [helper.make_opsetid("", 18)]
        return bytes(
            helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        )


def check_same(joined: Ending, apart: Ending) -> None:
    found, wanted = joined.run(), apart.run()
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=5e-6, atol=5e-6)


def test_it_is_one_operator_that_gives_the_same() -> None:
    joined, apart = Ending(True), Ending(False)
    assert joined.kinds() == ["Parameter", "EnlargeGeometry", "Result", "Result"]
    (maps,) = joined.graph.inputs
    readers = [reader.get_node().get_type_name() for reader in maps.get_target_inputs()]
    assert readers == ["EnlargeGeometry"]  # a tool that goes through the graph meets nobody else
    assert not apart.is_joined()
    check_same(joined, apart)
    lengths = np.linalg.norm(joined.run()["normals"], axis=-1)
    assert lengths.min() < 0.5  # some are shorter than the least length
    assert np.median(lengths) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("extra", [("large", 4), ("log", 1), ("vectors", 3), ("clipped", 1)])
def test_an_inner_map_that_somebody_else_reads_is_still_there(extra) -> None:
    joined = Ending(True, extra=extra)
    assert not joined.is_joined()
    check_same(joined, Ending(False, extra=extra))


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": {"mode": "nearest"}},
        {"resize": {"coordinate_transformation_mode": "align_corners"}},
        {"clip": {2: "one"}},  # an upper limit, too
        {"div": {0: "divisor", 1: "vectors"}},
    ],
)
def test_another_ending_stays_as_it_is(changes) -> None:
    joined = Ending(True, changes)
    assert not joined.is_joined()
    check_same(joined, Ending(False, changes))
