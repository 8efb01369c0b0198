"""A network in 8 bits: rounded where the file says, within its ranges, and refused in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import ModelError, RangesError
from pag_ros.manifest import load_manifest, save_manifest
from pag_ros.runtime import EngineOptions, open_session

ov = pytest.importorskip("openvino")
from openvino import opset13  # noqa: E402

from pag_ros.runtime.openvino.quantization import (  # noqa: E402
    GatedRanges,
    Quantization,
    Rounding,
    insert_roundings,
    load_quantization,
    quantization_path,
    save_quantization,
    simplify,
)

FOCAL_PX = 50.0
PICTURE = Rounding("embedded", 0, 0.0, 1.0)
"""The tiny model's first convolution; what it reads is the picture over 255."""


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def quantize(model: Path, *roundings: Rounding) -> None:
    save_quantization(Quantization(load_manifest(model).sha256, roundings, ("embedded",)), model)


def depth(model: Path, image: np.ndarray, precision: str = "int8") -> np.ndarray:
    session = open_session(model, "cpu", 1, precision=precision)
    assert f" {precision} " in session.backend
    found = session.infer(image, FOCAL_PX, (48, 24)).depth.copy()
    session.close()
    return found


def test_it_gives_nearly_what_float32_gives(model: Path, image: np.ndarray) -> None:
    quantize(model, PICTURE)
    ratio = depth(model, image) / depth(model, image, "fp32")
    assert 0.0 < np.abs(ratio - 1.0).max() < 0.1


def test_a_range_clips_what_its_input_reads_and_nothing_else(
    model: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """51 is 0.2 of the brightest value, and both ranges have all values of the picture."""
    monkeypatch.setattr("pag_ros.runtime.openvino.session.native_precisions", list)
    quantize(model, PICTURE)
    wanted = depth(model, np.minimum(image, 51))
    assert not np.allclose(depth(model, image), wanted, rtol=1e-2)
    quantize(model, Rounding("embedded", 0, 0.0, 0.2))
    np.testing.assert_allclose(depth(model, image), wanted, rtol=1e-4)


def test_another_size_is_rounded_alike(model: Path, image: np.ndarray) -> None:
    quantize(model, PICTURE)
    session = open_session(model, "cpu", 1, (32, 24), precision="int8")
    assert " int8 " in session.backend
    assert session.infer(image[:24, :32], FOCAL_PX, (12, 6)).depth.shape == (24, 32)
    session.close()


def test_it_is_computed_in_8_bits() -> None:
    """A network of our own making: OpenVINO says what it ran."""
    graph = network([opset13.parameter([1, 16, 24, 32], name="x")], convolved)
    insert_roundings(
        graph, Quantization("", (Rounding("conv", 0, -1.0, 1.0),), ("conv",)), Path("a.onnx")
    )
    compiled = ov.Core().compile_model(graph, "CPU", {"PERF_COUNT": True})
    request = compiled.create_infer_request()
    request.infer([np.zeros((1, 16, 24, 32), np.float32)])
    types = {entry.node_type: entry.exec_type for entry in request.get_profiling_info()}
    assert types["Convolution"].lower().endswith("i8")


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_are_rounded_in_a_range_for_each_output_channel(transposed: bool) -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(5, 3)) * [1.0, 10.0, 100.0]).astype(np.float32)

    def product(x):
        constant = opset13.constant(weights.T.copy() if transposed else weights)
        return opset13.matmul(x, constant, False, transposed, name="product")

    graph = network([opset13.parameter([2, 5], name="x")], product)
    insert_roundings(
        graph, Quantization("", (Rounding("product", 0, 0.0, 1.0),), ("product",)), Path("a.onnx")
    )
    step = np.abs(weights).max(axis=0) / 127
    wanted = np.eye(5, dtype=np.float32)[:2] @ (np.round(weights / step) * step)
    found = run(graph, np.eye(5, dtype=np.float32)[:2])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_who_reads_the_same_reads_it_rounded_once() -> None:
    def twice(x):
        return opset13.add(opset13.relu(x, name="first"), opset13.relu(x, name="second"))

    graph = network([opset13.parameter([1, 4], name="x")], twice)
    roundings = tuple(Rounding(name, 0, 0.0, 255.0) for name in ("first", "second"))
    insert_roundings(graph, Quantization("", roundings), Path("a.onnx"))
    assert sum(op.get_type_name() == "FakeQuantize" for op in graph.get_ops()) == 1
    np.testing.assert_allclose(run(graph, np.array([[0.4, 7.6, 300, -1]])), [[0, 16, 510, 0]])


def test_a_bias_takes_the_place_of_the_one_that_was_added() -> None:
    def biased(x):
        bias = np.array([5.0, 6.0], np.float32).reshape(1, 2, 1, 1)
        return opset13.add(opset13.relu(x, name="relu"), opset13.constant(bias), name="biased")

    graph = network([opset13.parameter([1, 2, 1, 1], name="x")], biased)
    changed = Quantization("", (Rounding("relu", 0, 0.0, 255.0),), (), {"biased": (1.0, 2.0)})
    insert_roundings(graph, changed, Path("a.onnx"))
    np.testing.assert_allclose(run(graph, np.ones((1, 2, 1, 1))).ravel(), [2.0, 3.0])


def test_a_missing_file_is_refused_with_what_to_do_and_not_taken_by_auto(model: Path) -> None:
    message = refused(model)
    assert "no such file" in message
    assert f"pag_ros quantize {model}" in message
    assert " fp32 " in open_session(model, "cpu", 1, precision="auto").backend


def test_auto_starts_without_ranges_that_do_not_fit_and_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another OpenVINO a node may have another name."""
    monkeypatch.setattr("pag_ros.runtime.openvino.session.native_precisions", lambda: ["int8"])
    scores = {"1.00": {"depth delta1": 0.5}}
    known = replace(load_manifest(model), scores=scores, scores_in={"int8": scores})
    save_manifest(known, model)
    quantize(model, PICTURE)
    said: list[str] = []

    def opened(precision: str) -> str:
        options = EngineOptions(say=said.append)
        session = open_session(model, "cpu", 1, engine=options, precision=precision)
        session.close()
        return session.backend

    assert " int8 " in opened("auto")
    assert said == []
    quantize(model, replace(PICTURE, node="renamed"))
    assert " fp32 " in opened("auto")
    (line,) = said
    assert line.startswith("precision auto does without int8: ")
    assert "the model has no node 'renamed'" in line
    with pytest.raises(RangesError, match="no node 'renamed'"):
        opened("int8")
    assert len(said) == 1


def test_the_file_of_another_model_is_refused(model: Path) -> None:
    save_quantization(Quantization("0" * 64, (PICTURE,)), model)
    assert "belongs to another model than tiny.onnx" in refused(model)


@pytest.mark.parametrize(
    ("roundings", "told"),
    [
        ([Rounding("nowhere", 0, 0.0, 1.0)], "no node 'nowhere'"),
        ([Rounding("embedded", 9, 0.0, 1.0)], "has no input 9"),
        ([Rounding("embedded", 0, 1.0, 1.0)], "expected low < high"),
        ([PICTURE, PICTURE], "two are of the same input"),
        ([], "expected 1 to"),
    ],
)
def test_roundings_that_do_not_fit_are_refused(
    model: Path, roundings: Sequence[Rounding], told: str
) -> None:
    quantize(model, *roundings)
    assert told in refused(model)


def test_a_node_without_weights_is_refused(model: Path) -> None:
    quantization = Quantization(load_manifest(model).sha256, (PICTURE,), ("features",))
    save_quantization(quantization, model)
    assert "features: it has no weights" in refused(model)


def test_a_bias_of_other_channels_is_refused(model: Path) -> None:
    quantization = Quantization(load_manifest(model).sha256, (PICTURE,), (), {"embedded": (1.0,)})
    save_quantization(quantization, model)
    assert "adds no bias of 1 channels" in refused(model)


GATED = ("block0_h", "block0_y", "block1_h", "block1_y")
"""The tiny model's gated convolutions, each of so many channels."""
GATED_CHANNELS = 8


def with_gated(model: Path, *gated: GatedRanges) -> None:
    sha256 = load_manifest(model).sha256
    save_quantization(Quantization(sha256, (PICTURE,), ("embedded",), gated=gated), model)


def wide(name: str, high: float = 4.0, channels: int = GATED_CHANNELS) -> GatedRanges:
    return GatedRanges(name, (0.0,) * channels, (high,) * channels)


def test_gated_blocks_compute_in_8_bits_where_all_their_ranges_are_known(
    model: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pag_ros.runtime.openvino.session.native_precisions", list)
    quantize(model, PICTURE)
    floats = depth(model, image)
    with_gated(model, *(wide(name) for name in GATED))
    near = depth(model, image)
    assert np.abs(near / floats - 1.0).max() > 0.0
    assert np.median(np.abs(near / floats - 1.0)) < 0.05
    with_gated(model, *(wide(name, 0.01) for name in GATED))
    assert np.median(np.abs(depth(model, image) / floats - 1.0)) > 0.05  # all is clipped
    with_gated(model, *(wide(name, 0.01) for name in GATED[:3:2]))
    np.testing.assert_array_equal(depth(model, image), floats)


@pytest.mark.parametrize(
    ("gated", "told"),
    [
        ([wide("nowhere")], "the model has no gated convolution 'nowhere'"),
        ([wide("embedded")], "the model has no gated convolution 'embedded'"),
        ([wide("block0_h", channels=9)], "'block0_h' reads 8 channels, not 9"),
        ([wide("block0_h", -1.0)], "as many low as high, and low <= high"),
        ([GatedRanges("block0_h", (0.0,), (1.0, 2.0))], "as many low as high"),
        ([wide("block0_h"), wide("block0_h")], "gated: a node is named twice"),
        ([GatedRanges("block0_h", (), ())], "expected 1 to"),
        ([GatedRanges("block0_h", (0.0,), (1e30,))], "high"),
    ],
)
def test_ranges_of_gated_blocks_that_do_not_fit_are_refused(
    model: Path, gated: Sequence[GatedRanges], told: str
) -> None:
    with_gated(model, *gated)
    assert told in refused(model)


def test_what_was_saved_is_read_back(model: Path) -> None:
    sha256 = load_manifest(model).sha256
    gated = (GatedRanges("block0_h", (-1.5, 0.0), (2.0, 3e-5)),)
    saved = Quantization(sha256, (PICTURE,), ("embedded",), {"added": (0.5, -1e-7)}, gated)
    save_quantization(saved, model)
    assert load_quantization(model, sha256) == saved


def transposed(x):
    """Channels of very different weights, so that one range for all would lose the small ones."""
    weights = np.random.default_rng(0).normal(size=(16, 8, 4, 4)).astype(np.float32)
    weights *= np.logspace(-3.0, 0.0, 8, dtype=np.float32)[:, None, None]
    strides, none = [4, 4], [0, 0]
    made = opset13.convolution_backprop_data(
        x, opset13.constant(weights), strides, pads_begin=none, pads_end=none
    )
    return opset13.relu(made, name="named")


def test_weights_of_a_transposed_convolution_are_rounded_by_output_channel() -> None:
    x = np.random.default_rng(1).uniform(0.0, 1.0, (1, 16, 6, 6))
    rounded = network([opset13.parameter([1, 16, 6, 6], name="x")], transposed)
    name = "named/0:ConvolutionBackpropData"
    insert_roundings(
        rounded, Quantization("", (Rounding(name, 0, 0.0, 1.0),), (name,)), Path("any.onnx")
    )
    exact = run(network([opset13.parameter([1, 16, 6, 6], name="x")], transposed), x)[0]
    off = np.abs(run(rounded, x)[0] - exact).max(axis=(1, 2)) / exact.max(axis=(1, 2))
    assert (off > 0.0).all()
    assert (off < 0.03).all()


def test_nodes_without_a_name_in_the_file_have_the_same_each_time_it_is_read() -> None:
    def named() -> set[str]:
        graph = network([opset13.parameter([1, 16, 6, 6], name="x")], transposed)
        simplify(graph)
        idle = ("Constant", "Parameter", "Result")
        computing = (op for op in graph.get_ops() if op.get_type_name() not in idle)
        return {op.get_friendly_name() for op in computing}

    assert named() == named() == {"named/0:ConvolutionBackpropData", "named"}


def refused(model: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_session(model, "cpu", 1, precision="int8")
    message = str(caught.value)
    assert str(quantization_path(model)) in message
    assert "\n" not in message
    return message


def network(parameters, make):
    return ov.Model([make(*parameters)], parameters)


def convolved(x):
    weights = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    sides = [1, 1]
    return opset13.convolution(
        x, opset13.constant(weights), sides, sides, sides, sides, name="conv"
    )


def run(graph, x: np.ndarray) -> np.ndarray:
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(graph, "CPU", hint)
    return compiled([x.astype(np.float32)])[0]


def test_what_is_left_where_other_nodes_are_computed_otherwise() -> None:
    roundings = tuple(Rounding(node, 0, 0.0, 1.0) for node in ("a", "b"))
    whole = Quantization("0", roundings, ("a", "b", "c"), {"a": (1.0,), "c": (2.0,)})
    left = whole.without({"a", "c"})
    assert left == Quantization("0", roundings[1:], ("b",), {})
    assert whole.without(()) == whole


def test_what_a_trunk_computes_is_not_rounded_in_the_graph(
    model: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    biases, given = {"embedded": (1.0, 2.0)}, []

    def join(_: object, corrected: Mapping[str, Sequence[float]]) -> frozenset[str]:
        given.append(dict(corrected))
        return frozenset({"embedded"})

    monkeypatch.setattr("pag_ros.runtime.openvino.session.native_precisions", list)
    monkeypatch.setattr("pag_ros.runtime.openvino.graph.join_blocks", join)
    sha256 = load_manifest(model).sha256
    save_quantization(Quantization(sha256, (PICTURE,), ("embedded",), biases), model)
    np.testing.assert_array_equal(depth(model, image), depth(model, image, "fp32"))
    assert given == [biases, {}]
