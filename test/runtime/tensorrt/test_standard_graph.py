"""The transformer's graph for TensorRT: whose it is, and how far half precision takes it off."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from pag_ros.errors import BackendError
from pag_ros.manifest import load_manifest
from pag_ros.runtime.computed_map import computed_map
from pag_ros.runtime.tensorrt.self_check import deviations, drawn_room
from pag_ros.runtime.tensorrt.standard_graph import (
    standard_graph,
    standard_outputs,
    standard_path,
)


@pytest.fixture
def model(transformer: Path, tmp_path: Path) -> Path:
    for path in transformer.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / transformer.name


def test_it_is_a_sound_graph_in_standard_operators(transformer: Path) -> None:
    proto = onnx.load_model_from_string(standard_graph(transformer, load_manifest(transformer)))
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert [each.name for each in proto.graph.input] == ["image", "fx", "keep"]
    outputs = [each.name for each in proto.graph.output]
    maps = ["depth", "normals", "labels", "confidence"]
    assert outputs == [*maps, *(f"index{slot}" for slot in range(8))]


@pytest.mark.parametrize("of", ["transformer", "turning_transformer"])
def test_half_precision_is_far_within_what_an_engine_may_be_off(
    of: str, request: pytest.FixtureRequest
) -> None:
    transformer: Path = request.getfixturevalue(of)
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[bench]'")
    manifest = load_manifest(transformer)
    plain = ort.SessionOptions()  # it would take casts of float16 out again
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    sessions = [
        ort.InferenceSession(content, plain, providers=["CPUExecutionProvider"])
        for content in (
            standard_graph(transformer, manifest),
            standard_path(transformer).read_bytes(),
        )
    ]
    for budget in (1.0, 0.5, 0.2):
        keep = manifest.keep_for(budget)
        feeds = {
            "image": drawn_room(manifest)[None],
            "fx": np.array([100.0], np.float32),
            "keep": np.array(keep, np.int32),
        }
        found, reference = (_maps(session.run(None, feeds), keep, manifest) for session in sessions)
        assert reference["depth"].std() > 0.02
        found_any = False
        for name, deviation, allowed in deviations(found, reference):
            assert deviation < allowed / 8, name
            found_any |= deviation > 0.0
        assert found_any, "it was computed in single precision"


def _maps(outputs, keep, manifest) -> dict[str, np.ndarray]:
    names = [name for name in standard_outputs(manifest) if not name.startswith("index")]
    maps = {name: pixels[0] for name, pixels in zip(names, outputs, strict=False)}
    return {**maps, "computed": computed_map(outputs[len(names) :], keep, manifest)}


def test_without_the_graph_it_is_said_what_writes_it(model: Path) -> None:
    standard_path(model).unlink()
    with pytest.raises(BackendError) as raised:
        standard_graph(model, load_manifest(model))
    assert str(raised.value) == (
        f"{model}: TensorRT runs a transformer by its graph in standard operators, and there is no "
        "small.standard.onnx beside it; `pag_ros adopt` writes it anew, or use device cpu"
    )


def test_the_graph_of_another_model_is_refused(model: Path) -> None:
    path = standard_path(model)
    proto = onnx.load(path)
    proto.metadata_props[0].value = "ab" * 32
    onnx.save(proto, path)
    with pytest.raises(BackendError, match=r"small\.standard\.onnx: the graph of another model"):
        standard_graph(model, load_manifest(model))
    del proto.metadata_props[:]
    onnx.save(proto, path)
    with pytest.raises(BackendError, match="the graph of another model"):
        standard_graph(model, load_manifest(model))


def test_a_damaged_graph_is_told_in_a_line(model: Path) -> None:
    path = standard_path(model)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BackendError, match="a graph in standard operators") as raised:
        standard_graph(model, load_manifest(model))
    assert "pag_ros adopt" in str(raised.value)
    assert "\n" not in str(raised.value)
