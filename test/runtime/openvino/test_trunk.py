"""Gated blocks that follow one another become one operator, and give what they gave apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from pag_ros.kernels import Workspace
from pag_ros.kernels.quantizing import Ranges
from pag_ros.runtime.frame_clock import FrameClock, limit_rows
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.quantization import simplify
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
        channels: of the map before each block and behind the last; where they change the block
            projects.
        biases: see `join_blocks`.
        edit: is given the nodes by their names and may change them.
        kernel: of the projections.
    """

    def __init__(
        self,
        joined: bool,
        precision: Any = "fp32",
        extra: list[tuple[Any, str, list[int]]] | None = None,
        changes: dict[tuple[str, int], str] | None = None,
        ranges: dict[str, Ranges] | None = None,
        channels: tuple[int, ...] = (CHANNELS,) * 4,
        biases: dict[str, list[float]] | None = None,
        edit: Callable[[dict[str, Any]], object] | None = None,
        kernel: int = 1,
    ) -> None:
        self.kernel = kernel
        self.channels = channels
        self.taken: frozenset[str] = frozenset()
        self.constants: dict[str, Any] = {
            "zero": np.array(0, np.int64),
            "table": np.array(DILATIONS, np.int32),
            "flat": np.array([PIXELS], np.int64),
            "last": np.array([-1], np.int64),
        }
        nodes = [node for at in range(3) for node in self._block(at)]
        for node, _, _ in extra or []:
            nodes.insert(0 if node.input[0] in ("x", "planar") else len(nodes), node)
        for (name, position), source in (changes or {}).items():
            next(node for node in nodes if node.name == name).input[position] = source
        if edit is not None:
            edit({node.name: node for node in nodes})
        self.clock = FrameClock(["block0", "block1", "block2"])
        self.operators = Operators(self.clock, Workspace(2), precision)
        core = ov.Core()
        for extension in self.operators.extensions():
            core.add_extension(extension)
        outputs = [("y2", [*MAP[:3], channels[3]], TensorProto.FLOAT)]
        outputs += [(f"index{at}", [PIXELS], TensorProto.INT32) for at in range(3)]
        outputs += [(f"count{at}", [1], TensorProto.INT32) for at in range(3)]
        outputs += [(name, shape, TensorProto.FLOAT) for _, name, shape in extra or []]
        self.graph = core.read_model(self._model(nodes, outputs), b"")
        if ranges is not None:
            self.operators.take_ranges(ranges)
        self.operators.join_convolutions()
        if joined:
            simplify(self.graph)
            self.taken = join_blocks(self.operators, biases or {})
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
        inputs, outputs = self.channels[at : at + 2]
        make = helper.make_node
        self.constants[f"{name}.place"] = np.array(at, np.int64)
        gate, bias = self._constant(f"{name}.gate", inputs, 1), self._constant(f"{name}.bias", 1)
        nodes = [
            make("MatMul", [x, gate], [f"{name}.product"], name=f"{name}.product"),
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
                self._conv(at, x, f"{name}.p1", 6, 1, inputs, relu=1),
                self._conv(at, f"{name}.p1", f"{name}.p2", len(DILATIONS), 3, 6),
                make("ArgMax", [f"{name}.p2"], [f"{name}.best"], axis=-1, keepdims=0),
                make("Reshape", [f"{name}.best", "flat"], [f"{name}.line"]),
                make("Unsqueeze", [f"{name}.line", "last"], [f"{name}.places"]),
                make("GatherND", ["table", f"{name}.places"], [f"{name}.dilations"]),
            ]
        chosen = [f"{name}.dilations"] if at == 1 else []
        nodes.append(self._conv(at, x, f"{name}.a", inputs, 3, inputs, more=["", *chosen], relu=1))
        if inputs == outputs:
            return [
                *nodes,
                self._conv(
                    at, f"{name}.a", f"y{at}", outputs, 3, inputs, more=[x], relu=1, residual=1
                ),
            ]
        weight = self._constant(f"{name}.projection", outputs, inputs, self.kernel, self.kernel)
        bias = self._constant(f"{name}.shift", outputs)
        turned, projected, base = (f"{name}.{part}" for part in ("turned", "projected", "base"))
        first, last = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
        total = f"{name}.sum"
        return [
            *nodes,
            make("Transpose", [x], [turned], name=f"{turned}.node", **first),
            make(
                "Conv",
                [turned, weight, bias],
                [projected],
                name=f"{projected}.node",
                pads=[self.kernel // 2] * 4,
                strides=[1, 1],
            ),
            make("Transpose", [projected], [base], name=f"{base}.node", **last),
            self._conv(at, f"{name}.a", total, outputs, 3, inputs, more=[base], residual=1),
            make("Relu", [total], [f"y{at}"], name=f"{name}.relu"),
        ]

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


PROJECTING = [(8, 12, 12, 6), (8, 8, 16, 16), (8, 8, 8, 9), (8, 3, 17, 40)]


def x_of(channels: int) -> list[int]:
    return [*MAP[:3], channels]


@pytest.mark.parametrize("keep", [(0, 0, 0), (5, 30, 20), (PIXELS,) * 3])
@pytest.mark.parametrize("channels", PROJECTING)
def test_blocks_that_project_are_a_part_of_the_trunk(channels, keep):
    joined, apart = (Blocks(each, channels=channels) for each in (True, False))
    assert (joined.trunks(), apart.trunks()) == ([3], [])
    check_same(joined.run([*keep]), apart.run([*keep]))
    left = {op.get_type_name() for op in joined.graph.get_ordered_ops()}
    assert left == {"Parameter", "TrunkOperator", "Result"}


def test_a_projection_without_a_bias_adds_none():
    changes = {("block1.projected.node", 2): ""}
    joined, apart = (Blocks(each, channels=(8, 8, 16, 16), changes=changes) for each in (1, 0))
    assert joined.trunks() == [3]
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


def test_a_projection_may_read_what_the_map_was_turned_from():
    planar = helper.make_node("Transpose", ["x"], ["planar"], perm=[0, 3, 1, 2])
    back = helper.make_node("Transpose", ["planar"], ["back"], perm=[0, 2, 3, 1])
    extra = [(back, "back", MAP), (planar, "planar", [1, CHANNELS, HEIGHT, WIDTH])]
    changes = {("block0.product", 0): "back", ("block0.a.conv", 0): "back"}
    changes[("block0.projected.node", 0)] = "planar"
    joined, apart = (
        Blocks(each, extra=extra, changes=changes, channels=(8, 9, 9, 9)) for each in (True, False)
    )
    assert joined.trunks() == [3]
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("block1.projected", [1, 16, HEIGHT, WIDTH]),
        ("block1.base", x_of(16)),
        ("block1.sum", x_of(16)),
    ],
)
def test_a_projection_that_somebody_else_reads_stays_as_it_is(source, shape):
    extra = [(helper.make_node("Abs", [source], ["extra"]), "extra", shape)]
    joined, apart = (Blocks(each, extra=extra, channels=(8, 8, 16, 16)) for each in (True, False))
    assert joined.trunks() == [1, 1]
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


def set_attribute(node: Any, name: str, value: Any) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def turn_around(nodes: dict[str, Any]) -> None:
    """Lines become columns, and then lines again."""
    for part in ("turned", "base"):
        set_attribute(nodes[f"block1.{part}.node"], "perm", [0, 3, 2, 1])


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": 3},
        {"edit": turn_around},
        {"edit": lambda nodes: setattr(nodes["block1.relu"], "op_type", "Abs")},
        {"edit": lambda nodes: set_attribute(nodes["block1.sum.conv"], "residual", 0)},
    ],
)
def test_another_sum_than_that_of_a_projection_stays_as_it_is(options):
    joined, apart = (Blocks(each, channels=(8, 8, 16, 16), **options) for each in (True, False))
    assert joined.trunks() == [1, 1]
    check_same(joined.run([40, 30, 20]), apart.run([40, 30, 20]))


@pytest.mark.parametrize(
    ("node", "name", "values", "kernel"),
    [
        ("projected", "strides", [2, 1], 1),
        ("projected", "pads", [0, 0, 0, 1], 1),
        ("projected", "pads", [0, 0, 0, 0], 3),
        ("base", "perm", [0, 3, 2, 1], 1),
    ],
)
def test_what_gives_a_map_of_another_size_is_no_projection(node, name, values, kernel):
    def edit(nodes: dict[str, Any]) -> None:
        set_attribute(nodes[f"block1.{node}.node"], name, values)

    assert Blocks(True, channels=(8, 8, 16, 16), edit=edit, kernel=kernel).trunks() == [1, 1]


def test_a_projection_of_another_map_stays_as_it_is():
    extra = [(helper.make_node("Abs", ["x"], ["other"]), "other", MAP)]
    changes = {("block0.turned.node", 0): "other"}
    joined = Blocks(True, extra=extra, changes=changes, channels=(8, 9, 9, 9))
    assert joined.trunks() == [2]


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


CHANGING = (8, 8, 12, 12)


def ranges_of_changing() -> dict[str, Ranges]:
    """Of blocks of which the middle one projects 8 channels to 12; each map has its own units."""
    channels = {"block0.a": 8, "y0": 8, "block1.p1": 8, "block1.p2": 6, "block1.a": 8}
    channels |= {"block1.sum": 8, "block2.a": 12}
    high = {name: 4.0 if count == 12 else 6.0 for name, count in channels.items()}
    found = {
        f"{name}.conv": Ranges(np.zeros(count), np.full(count, high[name]))
        for name, count in channels.items()
    }
    return {**found, "y2": Ranges(np.zeros(12), np.full(12, 6.0))}


@pytest.mark.parametrize("keep", [(40, 30, 20), (PIXELS,) * 3])
def test_a_projection_computes_in_8_bits_where_its_block_does(keep):
    exact = Blocks(True, channels=CHANGING).run([*keep])
    joined = Blocks(True, channels=CHANGING, ranges=ranges_of_changing())
    found = joined.run([*keep])
    assert joined.trunks() == [3]
    off = np.abs(found["y2"] - exact["y2"]).mean()
    assert 1e-4 < off < 0.05


def test_only_the_blocks_that_read_one_map_have_to_have_ranges_for_it():
    without = {name: each for name, each in ranges_of_changing().items() if name != "y2"}
    exact = Blocks(True, channels=CHANGING).run([PIXELS, 0, 0])
    found = Blocks(True, channels=CHANGING, ranges=without).run([PIXELS, 0, 0])
    # The first block is rounded, and the projection.
    assert 1e-4 < np.abs(found["y2"] - exact["y2"]).mean() < 0.05


def test_it_tells_which_nodes_of_the_graph_it_computes():
    joined = Blocks(True, channels=CHANGING)
    graph = {op.get_friendly_name() for op in Blocks(False, channels=CHANGING).graph.get_ops()}
    assert joined.taken <= graph
    parts = ["turned.node", "projected.node", "projected.node/WithoutBiases", "base.node", "relu"]
    assert joined.taken == {f"block1.{part}" for part in parts}
    assert Blocks(True).taken == set()


def test_a_rounded_projection_takes_its_corrected_bias():
    biases = {"block1.projected.node": [0.75] * 12}
    blocks: dict[str, Any] = {"channels": CHANGING, "biases": biases}
    corrected = Blocks(True, ranges=ranges_of_changing(), **blocks).run([0, 0, 0])["y2"]
    plain = Blocks(True, channels=CHANGING, ranges=ranges_of_changing())
    given = plain.run([0, 0, 0])["y2"]
    without = given - plain.constants["block1.shift"]
    shown = (given > 0) & (corrected > 0)
    assert shown.mean() > 0.2
    np.testing.assert_allclose(corrected[shown], (without + 0.75)[shown], atol=0.01)
    exact = Blocks(True, **blocks).run([0, 0, 0])["y2"]
    np.testing.assert_allclose(exact, Blocks(True, channels=CHANGING).run([0, 0, 0])["y2"])


def test_the_operators_let_go_of_what_they_replaced():
    joined = Blocks(True)
    left = [op.get_type_name() for op in joined.operators.made if op.get_input_size() > 0]
    assert set(left) == {"TrunkOperator"}
