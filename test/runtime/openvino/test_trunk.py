"""Gated blocks that follow one another become one operator, and give what they gave apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from pag_ros.kernels import Workspace
from pag_ros.kernels.quantizing import Ranges
from pag_ros.runtime.frame_clock import FrameClock, limit_rows
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.trunk import join_blocks

HEIGHT, WIDTH, CHANNELS = 7, 9, 8
PIXELS = HEIGHT * WIDTH
MAP = [1, HEIGHT, WIDTH, CHANNELS]
DILATIONS = (0, 1, 3)


class Blocks:
    """Three gated blocks on one map, as the exporter writes them; the second chooses dilations.

    Args:
        joined: whether they are made one operator.
        extra: nodes of the test's own, with the names of the outputs that they add.
        changes: of the nodes: (node, position of the input) -> another input.
    """

    def __init__(
        self,
        joined: bool,
        precision: Any = "fp32",
        extra: list[tuple[Any, str, list[int]]] | None = None,
        changes: dict[tuple[str, int], str] | None = None,
        ranges: dict[str, Ranges] | None = None,
    ) -> None:
        self.constants: dict[str, Any] = {
            "zero": np.array(0, np.int64),
            "table": np.array(DILATIONS, np.int32),
            "flat": np.array([PIXELS], np.int64),
            "last": np.array([-1], np.int64),
        }
        nodes = [node for at in range(3) for node in self._block(at)]
        for node, _, _ in extra or []:
            nodes.insert(0 if node.input[0] == "x" else len(nodes), node)
        for (name, position), source in (changes or {}).items():
            next(node for node in nodes if node.name == name).input[position] = source
        self.clock = FrameClock(["block0", "block1", "block2"])
        self.operators = Operators(self.clock, Workspace(2), precision)
        core = ov.Core()
        for extension in self.operators.extensions():
            core.add_extension(extension)
        outputs = [("y2", MAP, TensorProto.FLOAT)]
        outputs += [(f"index{at}", [PIXELS], TensorProto.INT32) for at in range(3)]
        outputs += [(f"count{at}", [1], TensorProto.INT32) for at in range(3)]
        outputs += [(name, shape, TensorProto.FLOAT) for _, name, shape in extra or []]
        self.graph = core.read_model(self._model(nodes, outputs), b"")
        if ranges is not None:
            self.operators.take_ranges(ranges)
        self.operators.join_convolutions()
        if joined:
            join_blocks(self.operators)
            self.graph.validate_nodes_and_infer_types()
        compiled = core.compile_model(self.graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = compiled.create_infer_request()
        self._names = [name for name, *_ in outputs]

    def trunks(self) -> list[int]:
        """The number of blocks of each trunk in the graph."""
        nodes = [op for op in self.graph.get_ordered_ops() if op.get_type_name() == "TrunkOperator"]
        return [(node.get_output_size() - 1) // 2 for node in nodes]

    def run(self, keep: list[int], plan: Any = None) -> dict[str, Any]:
        x = np.maximum(np.random.default_rng(1).normal(0.5, 1, MAP), 0).astype(np.float32)
        self.clock.start()
        plan = limit_rows(None, 0.0, 3) if plan is None else plan
        self._request.infer({"x": x, "keep": np.array(keep, np.int32), "plan": plan})
        return {name: self._request.get_tensor(name).data.copy() for name in self._names}

    def _constant(self, name: str, *shape: int) -> str:
        rng = np.random.default_rng(len(self.constants))
        scale = 1 / np.sqrt(max(np.prod(shape[1:]), 1))
        self.constants[name] = rng.normal(0, scale, shape).astype(np.float32)
        return name

    def _block(self, at: int) -> list[Any]:
        x, name = ("x" if at == 0 else f"y{at - 1}"), f"block{at}"
        make = helper.make_node
        self.constants[f"{name}.place"] = np.array(at, np.int64)
        gate, bias = self._constant(f"{name}.gate", CHANNELS, 1), self._constant(f"{name}.bias", 1)
        nodes = [
            make("MatMul", [x, gate], [f"{name}.product"]),
            make("Add", [f"{name}.product", bias], [f"{name}.map"], name=f"{name}.add"),
            make("Gather", [f"{name}.map", "zero"], [f"{name}.score"], axis=3),
            make("Gather", ["keep", f"{name}.place"], [f"{name}.keep"], axis=0),
            make("Gather", ["plan", f"{name}.place"], [f"{name}.plan"], axis=0),
            make(
                "Select",
                [f"{name}.score", f"{name}.keep", f"{name}.plan"],
                [f"index{at}", f"count{at}"],
                domain="pag",
                stage=name,
            ),
        ]
        if at == 1:
            nodes += [
                self._conv(at, x, f"{name}.p1", 6, 1, CHANNELS, relu=1),
                self._conv(at, f"{name}.p1", f"{name}.p2", len(DILATIONS), 3, 6),
                make("ArgMax", [f"{name}.p2"], [f"{name}.best"], axis=-1, keepdims=0),
                make("Reshape", [f"{name}.best", "flat"], [f"{name}.line"]),
                make("Unsqueeze", [f"{name}.line", "last"], [f"{name}.places"]),
                make("GatherND", ["table", f"{name}.places"], [f"{name}.dilations"]),
            ]
        chosen = [f"{name}.dilations"] if at == 1 else []
        nodes.append(
            self._conv(at, x, f"{name}.a", CHANNELS, 3, CHANNELS, more=["", *chosen], relu=1)
        )
        nodes.append(
            self._conv(
                at, f"{name}.a", f"y{at}", CHANNELS, 3, CHANNELS, more=[x], relu=1, residual=1
            )
        )
        return nodes

    def _conv(
        self,
        at: int,
        source: str,
        result: str,
        outputs: int,
        kernel: int,
        inputs: int,
        more: list[str] | None = None,
        **attributes: int,
    ) -> Any:
        weight = self._constant(f"{result}.weight", outputs, kernel, kernel, inputs)
        bias = self._constant(f"{result}.bias", outputs)
        read = [source, f"index{at}", f"count{at}", weight, bias, *(more or [])]
        attributes = {"kernel": kernel, **attributes}
        return helper.make_node(
            "SparseConv", read, [result], name=f"{result}.conv", domain="pag", **attributes
        )

    def _model(self, nodes: list[Any], outputs: list[tuple[str, list[int], int]]) -> bytes:
        inputs = [
            ("x", TensorProto.FLOAT, MAP),
            ("keep", TensorProto.INT32, [3]),
            ("plan", TensorProto.FLOAT, [3, 3]),
        ]
        graph = helper.make_graph(
            nodes,
            "blocks",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info(name, kind, shape) for name, shape, kind in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pag", 1)]
        return bytes(
            helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        )


def check_same(found: dict[str, Any], wanted: dict[str, Any], atol: float = 1e-5) -> None:
    assert found.keys() == wanted.keys()
    for at in range(3):
        count = wanted[f"count{at}"]
        assert found[f"count{at}"] == count
        lists = found[f"index{at}"], wanted[f"index{at}"]
        np.testing.assert_array_equal(*(each[: count[0]] for each in lists))
    for name in found.keys() - {f"{kind}{at}" for kind in ("index", "count") for at in range(3)}:
        np.testing.assert_allclose(found[name], wanted[name], atol=atol)


# Between bf16 convolutions the order of a sum may decide to which side its result is rounded.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-4)])
@pytest.mark.parametrize("keep", [(0, 0, 0), (5, 30, 20), (PIXELS,) * 3])
def test_joined_blocks_give_what_they_give_apart(keep, precision, tolerance):
    joined, apart = Blocks(True, precision), Blocks(False, precision)
    assert (joined.trunks(), apart.trunks()) == ([3], [])
    check_same(joined.run([*keep]), apart.run([*keep]), tolerance)


def test_a_late_trunk_computes_fewer_pixels_and_none_below_its_threshold():
    plan = limit_rows(None, 0.0, 3)
    plan[0] = (-1e9, 2e9, -np.inf)
    plan[2] = (np.inf, 1.0, 1e9)
    joined = Blocks(True)
    result = joined.run([40, 30, 20], plan)
    assert [result[f"count{at}"][0] for at in range(3)] in ([19, 30, 0], [20, 30, 0])
    check_same(joined.run([19, 30, 0]), Blocks(False).run([19, 30, 0]))


def test_the_clock_hears_of_every_block():
    joined = Blocks(True)
    joined.run([40, 30, 20])
    seconds = joined.clock.stage_seconds()
    assert len(seconds) == 5
    assert min(seconds) > 0


def test_each_block_takes_its_own_row():
    joined = Blocks(True)
    result = joined.run([3, 17, 29])
    assert [int(result[f"count{at}"][0]) for at in range(3)] == [3, 17, 29]


@pytest.mark.parametrize(
    ("source", "shape", "trunks"),
    [
        ("y0", MAP, [1, 2]),  # the map between two blocks
        ("y1", MAP, [2, 1]),
        ("block1.map", [1, HEIGHT, WIDTH, 1], [1, 1]),  # the scores of a block
        ("block1.p2", [1, HEIGHT, WIDTH, 3], [1, 1]),  # what its dilations are chosen by
    ],
)
def test_what_somebody_else_reads_is_still_there(source, shape, trunks):
    extra = [(helper.make_node("Abs", [source], ["extra"]), "extra", shape)]
    joined, apart = Blocks(True, extra=extra), Blocks(False, extra=extra)
    assert joined.trunks() == trunks
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


@pytest.mark.parametrize(
    ("changes", "trunks"),
    [
        ({("y0.conv", 5): "other"}, [2]),  # not the map that the block reads is its base
        ({("block0.a.conv", 0): "other"}, [2]),  # nor what it is computed from
        ({("block1.p1.conv", 0): "other"}, [1, 1]),  # nor what the dilations are chosen by
    ],
)
def test_a_block_of_another_form_stays_as_it_is(changes, trunks):
    extra = [(helper.make_node("Abs", ["x"], ["other"]), "other", MAP)]
    joined, apart = (Blocks(each, extra=extra, changes=changes) for each in (True, False))
    assert joined.trunks() == trunks
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


def ranges(**others: Ranges | None) -> dict[str, Ranges]:
    names = ("block0.a", "y0", "block1.p1", "block1.p2", "block1.a", "y1", "block2.a", "y2")
    channels = {name: 6 if name == "block1.p2" else CHANNELS for name in names}
    found: dict[str, Ranges | None] = {
        # OpenVINO calls the node of an output by the output's name.
        name if name == "y2" else f"{name}.conv": Ranges(np.zeros(count), np.full(count, 5.0))
        for name, count in channels.items()
    }
    return {name: each for name, each in {**found, **others}.items() if each is not None}


def test_blocks_with_ranges_compute_in_8_bits_on_one_rounded_map():
    exact = Blocks(True).run([PIXELS, PIXELS, PIXELS])
    joined, apart = Blocks(True, ranges=ranges()), Blocks(False, ranges=ranges())
    found = joined.run([PIXELS, PIXELS, PIXELS])
    assert joined.trunks() == [3]
    # All first inputs have the same range here, so the rounded map is that of lone blocks.
    check_same(found, apart.run([PIXELS, PIXELS, PIXELS]))
    off = np.abs(found["y2"] - exact["y2"]).mean()
    assert 1e-4 < off < 0.05


def test_a_trunk_holds_the_range_of_every_block():
    small = Ranges(np.zeros(8), np.full(8, 0.5))
    exact = Blocks(True).run([PIXELS, PIXELS, PIXELS])
    joined = Blocks(True, ranges=ranges(**{"block0.a.conv": small, "block1.p1.conv": small}))
    found = joined.run([PIXELS, PIXELS, PIXELS])
    assert np.abs(found["y2"] - exact["y2"]).mean() < 0.05


@pytest.mark.parametrize("name", ["y1.conv", "block2.a.conv", "block1.p2.conv"])
def test_a_trunk_with_one_range_missing_computes_in_floats(name):
    joined = Blocks(True, ranges=ranges(**{name: None}))
    assert joined.trunks() == [3]
    check_same(joined.run([40, 30, 20]), Blocks(True).run([40, 30, 20]))


def test_the_operators_let_go_of_what_they_replaced():
    joined = Blocks(True)
    left = [op.get_type_name() for op in joined.operators.made if op.get_input_size() > 0]
    assert set(left) == {"TrunkOperator"}
