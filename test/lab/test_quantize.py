"""Quantising a model with NNCF: what is rounded, what stays, and that it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.kernels import Workspace
from pag_ros.manifest import load_manifest
from pag_ros.runtime import open_session
from pag_ros.runtime.frame_clock import FrameClock

pytest.importorskip("openvino")
import openvino as ov

from pag_ros.lab.datasets import TRAINING, open_dataset
from pag_ros.lab.quantize import _feeds, exact_nodes
from pag_ros.runtime.openvino.graph import read_graph
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.quantization import (
    has_weights,
    load_quantization,
    simplify,
)


def test_a_model_is_quantised_on_rooms_and_runs(
    model: Path, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'pag_ros[bench]'")
    data = [str(rooms), f"pictures:{rooms}"]
    assert main(["quantize", str(model), "--data", *data, "--pictures", "4"]) == 0
    assert "tiny.int8.json" in capsys.readouterr().out
    quantization = load_quantization(model, load_manifest(model).sha256)
    # Its heads and gates are one layer each, and stay float; "nchw" is what "embedded" reads.
    (rounding,) = quantization.roundings
    assert (rounding.node, rounding.input) == ("nchw", 0)
    assert quantization.weights == ("embedded",)
    assert rounding.low <= 0.0 < 0.9 < rounding.high <= 1.1
    gated = [each.node for each in quantization.gated]
    assert gated == ["block0_h", "block0_y", "block1_h", "block1_y"]
    image = _feeds(open_dataset(str(rooms), TRAINING)[0], load_manifest(model), 0)["image"][0]
    depths = []
    for precision in ("fp32", "int8"):
        session = open_session(model, "cpu", 1, precision=precision)
        depths.append(session.infer(image, 50.0, (48, 48)).depth.copy())
        session.close()
    assert 0.0 < np.median(np.abs(depths[1] / depths[0] - 1.0)) < 0.05


def test_what_ends_in_an_output_or_a_gate_stays_float(model: Path) -> None:
    manifest = load_manifest(model)
    operators = Operators(FrameClock([b.name for b in manifest.blocks]), Workspace(1))
    graph = read_graph(model, manifest, manifest, operators)
    simplify(graph)
    exact = exact_nodes(graph)
    assert {"block0_logit", "block1_logit", "small", "depth", "normals"} <= exact
    assert not exact & {"embedded", "features", "block0_y"}
    operators.release()


def test_a_sum_with_an_enlarged_map_stays_float() -> None:
    ops = ov.opset13

    def convolution(source: Any, channels: int, stride: int) -> Any:
        weight = np.ones((4, channels, 3, 3), np.float32)
        return ops.convolution(source, weight, [stride] * 2, [1, 1], [1, 1], [1, 1])

    image = ops.parameter([1, 3, 8, 8], np.float32)
    large = convolution(image, 3, 1)
    small = convolution(large, 4, 2)
    of_one_size = ops.add(small, convolution(small, 4, 1))
    scales, axes = np.float32([2, 2]), np.int64([2, 3])
    enlarged = ops.interpolate(of_one_size, scales, "linear_onnx", "scales", axes=axes)
    of_two_sizes = ops.add(large, enlarged)
    graph = ov.Model([convolution(of_two_sizes, 4, 1)], [image], "pyramid")
    exact = exact_nodes(graph)
    assert of_two_sizes.get_friendly_name() in exact
    assert of_one_size.get_friendly_name() not in exact


def test_depthwise_filters_of_the_first_features_stay_float() -> None:
    ops = ov.opset13
    image = ops.parameter([1, 3, 8, 8], np.float32)
    around: tuple[list[int], ...] = ([1, 1], [1, 1], [1, 1], [1, 1])
    weight = np.ones((4, 3, 3, 3), np.float32)
    six = np.float32(6.0)
    stem = ops.minimum(six, ops.convolution(ops.subtract(image, six), weight, *around))
    filters = np.ones((4, 1, 1, 3, 3), np.float32)
    first = ops.group_convolution(stem, filters, *around)
    second = ops.group_convolution(ops.relu(first), filters, *around)
    last = ops.convolution(second, np.ones((1, 4, 3, 3), np.float32), *around)
    exact = exact_nodes(ov.Model([last], [image], "depthwise"))
    assert first.get_friendly_name() in exact
    assert second.get_friendly_name() not in exact


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small transformer with random weights, 112x84."""
    pytest.importorskip("torch")
    from small_transformer import SIZE, small_transformer

    from pag_ros.lab.transformers.adopt import export_depth_anything

    path = tmp_path_factory.mktemp("transformer") / "small.onnx"
    export_depth_anything(small_transformer(), "small", SIZE, path)
    return path


def test_of_depth_anything_3_no_turning_and_no_exponential_is_rounded(
    rooms: Path, tmp_path: Path
) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'pag_ros[bench]'")
    pytest.importorskip("torch")
    from small_v3 import PATCHES, SIZE, known_sizes, small_v3

    from pag_ros.lab.transformers.adopt import export_depth_anything
    from pag_ros.lab.transformers.metres import Factor
    from pag_ros.lab.transformers.scale_fit import ScaleFit

    path = tmp_path / "turning.onnx"
    with known_sizes():
        network = small_v3()
        network.give_metres(ScaleFit(Factor(2.5, 100.0), "", (0.8, 0.9), 0.0))
        export_depth_anything(network, "turning", SIZE, path)
    assert main(["quantize", str(path), "--data", str(rooms), "--pictures", "4"]) == 0
    manifest = load_manifest(path)
    quantization = load_quantization(path, manifest.sha256)
    operators = Operators(FrameClock([b.name for b in manifest.blocks]), Workspace(1))
    graph = read_graph(path, manifest, manifest, operators)
    simplify(graph)
    nodes = {op.get_friendly_name(): op for op in graph.get_ops()}
    kinds = [nodes[each.node].get_type_name() for each in quantization.roundings]
    assert set(kinds) == {"MatMul", "Convolution", "ConvolutionBackpropData"}
    assert all(has_weights(nodes[each.node]) for each in quantization.roundings)
    assert kinds.count("MatMul") >= 5 * len(manifest.blocks)
    operators.release()
    image = _feeds(open_dataset(str(rooms), TRAINING)[0], manifest, 0)["image"][0]
    depths = []
    for precision in ("fp32", "int8"):
        session = open_session(path, "cpu", 1, precision=precision)
        depths.append(session.infer(image, 90.0, (PATCHES,) * len(manifest.blocks)).depth)
        session.close()
    off = np.abs(np.log(depths[1] / depths[0])).mean()
    assert 0.0 < off < 0.2 * np.log(depths[0]).std()


def test_of_a_transformer_layers_with_weights_alone_are_rounded(
    transformer: Path, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'pag_ros[bench]'")
    data = ["--data", str(rooms), "--pictures", "4"]
    assert main(["quantize", str(transformer), *data]) == 0
    assert "inputs rounded, by 4 pictures" in capsys.readouterr().out
    manifest = load_manifest(transformer)
    quantization = load_quantization(transformer, manifest.sha256)
    operators = Operators(FrameClock([b.name for b in manifest.blocks]), Workspace(1))
    graph = read_graph(transformer, manifest, manifest, operators)
    simplify(graph)
    nodes = {op.get_friendly_name(): op for op in graph.get_ops()}
    rounded = [nodes[each.node] for each in quantization.roundings]
    assert all(map(has_weights, rounded))
    kinds = [node.get_type_name() for node in rounded]
    # Query, key with value, projection and two of the MLP in each of 8 blocks, or more.
    assert kinds.count("MatMul") >= 5 * 8
    assert kinds.count("ConvolutionBackpropData") == 2
    assert sorted(quantization.weights) == sorted(node.get_friendly_name() for node in rounded)
    assert quantization.biases == {}
    operators.release()

    image = _feeds(open_dataset(str(rooms), TRAINING)[0], manifest, 0)["image"][0]
    depths = []
    for precision in ("fp32", "int8"):
        session = open_session(transformer, "cpu", 1, precision=precision)
        depths.append(session.infer(image, 90.0, manifest.keep_for(1.0)).depth.copy())
        session.close()
    off = np.abs(np.log(depths[1] / depths[0])).mean()
    assert 0.0 < off < 0.1 * np.log(depths[0]).std()


def test_without_nncf_it_says_what_to_install(
    model: Path,
    rooms: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert main(["quantize", str(model), "--data", str(rooms)]) == 2
    assert "pip install 'pag_ros[bench]'" in capsys.readouterr().err
