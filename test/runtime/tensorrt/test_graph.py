"""The graph for TensorRT computes what the CPU session computes.

Evaluated in NumPy by the operators' definitions. That TensorRT takes the graph, and what its own
kernels make of it, only a GPU machine shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_reference import run
from onnx import TensorProto, helper

from pag_ros.errors import BackendError, ModelError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec
from pag_ros.manifest import load_manifest, save_manifest, sha256_of
from pag_ros.runtime import find_model, open_session
from pag_ros.runtime.tensorrt.graph import engine_graph

CLOCK = np.zeros(2, np.int32)


def picture(model: Path) -> np.ndarray:
    manifest = load_manifest(model)
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.float32)
    factors = manifest.height // 6 + 1, manifest.width // 8 + 1
    large = np.kron(noise, np.ones((*factors, 1)))[: manifest.height, : manifest.width]
    return large.astype(np.uint8)


def both(model: Path, share: float, single: bool):
    """The engine graph's outputs and the CPU session's prediction."""
    manifest, image = load_manifest(model), picture(model)
    keep = [round(share * block.pixels) for block in manifest.blocks]
    focal_px = float(np.mean(manifest.focal_range))
    limits = np.tile(np.array([np.inf, 1.0, -np.inf], np.float32), (len(keep), 1))
    inputs = {
        "image": image[None],
        "fx": np.array([focal_px], np.float32),
        "keep": np.array(keep, np.int32),
        "plan": limits,
        "clock": CLOCK,
    }
    outputs = run(engine_graph(model), inputs, single)
    session = open_session(model, "cpu", 1)
    prediction = session.infer(image, focal_px, keep)
    session.close()
    return outputs, prediction, keep


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_in_half_precision_it_agrees_with_the_cpu_session(tiny_model: Path, share: float) -> None:
    outputs, prediction, keep = both(tiny_model, share, single=False)
    assert outputs["count"].tolist() == keep
    assert np.allclose(outputs["depth"][0], prediction.depth, rtol=2e-2)
    assert np.allclose(outputs["normals"][0], prediction.normals, atol=3e-2)
    assert np.mean(outputs["labels"][0] == prediction.labels) > 0.98
    assert outputs["labels"].dtype == np.uint8
    assert np.allclose(outputs["confidence"][0], prediction.confidence, atol=2e-2)
    assert outputs["stamps"].shape == (len(keep), 2)


@pytest.mark.parametrize("name", ["pag_lite0_indoor"])
def test_a_shipped_model_agrees_with_the_cpu_session(name: str) -> None:
    """In float32: whether half precision is good enough for it, the engine's self-check tells."""
    outputs, prediction, keep = both(find_model(name), 0.5, single=True)
    assert outputs["count"].tolist() == keep
    relative = np.abs(outputs["depth"][0] / prediction.depth - 1.0)
    # The weights of the gated convolutions are rounded, which may turn a close choice of pixels.
    assert np.median(relative) < 5e-3
    assert np.percentile(relative, 99) < 5e-2
    assert np.mean(outputs["labels"][0] == prediction.labels) > 0.97


def test_hidden_maps_exist_at_listed_pixels_only_and_blocks_work_in_place() -> None:
    graph = engine_graph(find_model("pag_lite0_indoor"))
    convs = [spec for spec in graph.programs.values() if isinstance(spec, ConvSpec)]
    assert sum(isinstance(spec, SelectSpec) for spec in graph.programs.values()) == 8
    assert all(spec.x_rows and spec.in_place for spec in convs if spec.base)
    assert sum(spec.out_rows for spec in convs) == len(convs) - 9  # 8 blocks, MultiPool's logits
    assert sum(spec.by_map for spec in convs) == 1


def test_every_type_is_said(tiny_model: Path) -> None:
    """Strongly typed: inputs of a node are of one floating-point type, and the ends are float32."""
    graph = engine_graph(tiny_model)
    proto = onnx.load_model_from_string(graph.onnx)
    inferred = onnx.shape_inference.infer_shapes(_without_plugins(proto, graph), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    convolutions = [node for node in inferred.graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    depth = next(port for port in inferred.graph.output if port.name == "depth")
    assert depth.type.tensor_type.elem_type == TensorProto.FLOAT


def test_a_map_that_is_read_later_is_not_written_in_place(tiny_model: Path, tmp_path: Path) -> None:
    model = changed(tiny_model, tmp_path, _publish_first_base)
    first, *_ = [s for s in engine_graph(model).programs.values() if getattr(s, "base", False)]
    assert not first.in_place


def test_what_the_kernels_lack_is_named(tiny_model: Path, tmp_path: Path) -> None:
    def depthwise(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.op_type == "SparseConv")
        node.attribute.append(helper.make_attribute("depthwise", 1))

    def unknown(proto: onnx.ModelProto) -> None:
        next(n for n in proto.graph.node if n.op_type == "Select").op_type = "Guess"

    with pytest.raises(BackendError, match="depthwise 3x3"):
        engine_graph(changed(tiny_model, tmp_path, depthwise))
    with pytest.raises(BackendError, match=r"no pag\.Guess"):
        engine_graph(changed(tiny_model, tmp_path, unknown))


def test_a_damaged_model_is_named(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\xff\xff")
    save_manifest(_for(tiny_model, path), path)
    with pytest.raises(ModelError, match=r"broken\.onnx: not a usable model"):
        engine_graph(path)


def test_an_attribute_of_another_type_is_a_damaged_model(tiny_model: Path, tmp_path: Path) -> None:
    def numbered(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "Select")
        node.attribute[0].CopyFrom(helper.make_attribute("stage", 5))

    with pytest.raises(ModelError, match=r"changed\.onnx: not a usable model"):
        engine_graph(changed(tiny_model, tmp_path, numbered))


def changed(model: Path, folder: Path, change) -> Path:
    """A copy of a model, changed, with a manifest that fits."""
    proto = onnx.load(model)
    change(proto)
    path = folder / "changed.onnx"
    onnx.save(proto, path)
    save_manifest(_for(model, path), path)
    return path


def _for(model: Path, path: Path):
    from dataclasses import replace

    return replace(load_manifest(model), sha256=sha256_of(path))


def _publish_first_base(proto: onnx.ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.op_type == "SparseConv" and len(n.input) > 5)
    proto.graph.output.append(helper.make_tensor_value_info(node.input[5], TensorProto.FLOAT, None))


def _without_plugins(proto: onnx.ModelProto, graph) -> onnx.ModelProto:
    """Plugins' outputs become inputs of a known type, since shape inference knows no plugin."""
    kinds = {"fp16": TensorProto.FLOAT16, "fp32": TensorProto.FLOAT, "i32": TensorProto.INT32}
    kept = []
    for node in proto.graph.node:
        if node.name not in graph.programs:
            kept.append(node)
            continue
        for name, tensor in zip(node.output, graph.programs[node.name].outputs, strict=True):
            port = helper.make_tensor_value_info(name, kinds[tensor.dtype], tensor.shape)
            proto.graph.input.append(port)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    produced = {name for node in kept for name in node.output}
    outputs = [port for port in proto.graph.output if port.name in produced]
    del proto.graph.output[:]
    proto.graph.output.extend(outputs)
    return proto
