"""The rivals run what they are given, in every precision that they have here."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from pag_ros.lab.bench import dense

onnx = pytest.importorskip("onnx")
ov = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def model() -> bytes:
    """A convolution of 16 channels and a ReLU."""
    weight = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
    ]
    maps = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16, 24, 32])
        for name in "xz"
    ]
    graph = onnx.helper.make_graph(
        nodes, "one", maps[:1], maps[1:], [onnx.numpy_helper.from_array(weight, "w")]
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    return bytes(proto.SerializeToString())


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(1, 16, 24, 32)).astype(np.float32)}


def test_every_precision_of_what_is_installed_runs(model: bytes, feeds) -> None:
    runs = dense.all_precisions(model, None, feeds, 1)
    wanted = {"openvino fp32"}
    if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        wanted.add("openvino bf16")
    if importlib.util.find_spec("nncf"):
        wanted.add("openvino int8")
    if importlib.util.find_spec("onnxruntime"):
        wanted |= {"onnxruntime fp32", "onnxruntime int8"}
    assert set(runs) == wanted
    for run in runs.values():
        run()


def test_the_quantised_one_computes_in_8_bits(model: bytes, feeds, monkeypatch) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'pag_ros[bench]'")
    graphs = []
    monkeypatch.setattr(dense, "_compiled", lambda graph, *others: graphs.append(graph))
    dense.openvino_int8_run(model, feeds, 1, transformer=False)
    nodes = graphs[0].get_ordered_ops()
    assert [node.get_type_name() for node in nodes].count("FakeQuantize") == 1  # of the input
    assert ov.Type.i8 in [node.get_output_element_type(0) for node in nodes]  # the weights
