"""An ONNX file that a reader never returns from is refused before one gets it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from pag_ros.errors import ModelError
from pag_ros.manifest import manifest_path, sha256_of
from pag_ros.runtime import onnx_precheck, shipped_models
from pag_ros.runtime.onnx_precheck import check_onnx, is_transformer, own_operators
from pag_ros.runtime.openvino.session import OpenVinoSession


def graph_of(nodes: list[NodeProto], name: str = "graph") -> onnx.GraphProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return helper.make_graph(nodes, name, [value], [value])


def content_of(*nodes: NodeProto, version: int = 18) -> bytes:
    model = helper.make_model(graph_of([*nodes]), opset_imports=[helper.make_opsetid("", version)])
    return model.SerializeToString()


def node(reads: str, gives: str, **attributes: object) -> NodeProto:
    return helper.make_node("Relu", reads.split(), gives.split(), **attributes)


def test_shipped_models_pass(tiny_model: Path) -> None:
    for path in [tiny_model, *shipped_models().values()]:
        check_onnx(path.read_bytes())


@pytest.mark.parametrize(
    "nodes",
    [
        [node("a", "a")],
        [node("x b", "a"), node("a", "b")],
        [node("b", "a"), node("x", "b")],
    ],
    ids=["itself", "each other", "out of order"],
)
def test_a_node_that_reads_what_is_not_computed_yet_is_refused(nodes: list[NodeProto]) -> None:
    with pytest.raises(ValueError, match="before that is computed"):
        check_onnx(content_of(*nodes))


def test_graphs_within_nodes_are_looked_at() -> None:
    inner = graph_of([node("q", "p"), node("p", "q")])
    with pytest.raises(ValueError, match="reads 'q' before"):
        check_onnx(content_of(node("x", "y", then_branch=inner)))
    reads_later = graph_of([node("z", "p")])
    with pytest.raises(ValueError, match="reads 'z' before"):
        check_onnx(content_of(node("x", "y", then_branch=reads_later), node("y", "z")))
    for _ in range(25):
        inner = graph_of([node("x", "p", then_branch=inner)])
    with pytest.raises(ValueError, match="nested too deeply"):
        check_onnx(content_of(node("x", "y", then_branch=inner)))


def test_two_nodes_of_one_result_are_refused() -> None:
    with pytest.raises(ValueError, match="two of its nodes give 'a'"):
        check_onnx(content_of(node("x", "a"), node("x", "a")))


@pytest.mark.parametrize("version", [2**31 - 1, 2**40, -1])
def test_an_impossible_version_of_operators_is_refused(version: int) -> None:
    check_onnx(content_of(node("x", "a")))
    with pytest.raises(ValueError, match="its operators are of version"):
        check_onnx(content_of(node("x", "a"), version=version))


@pytest.mark.parametrize("content", [b"\x3a\xff\xff\xff\xff\x0f", b"\x3a", b"\xff" * 20, b"\x3b"])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no ONNX model"):
        check_onnx(content)


def test_a_session_refuses_a_graph_that_reads_its_own_results(
    tiny_model: Path, tmp_path: Path
) -> None:
    proto, path = onnx.load(tiny_model), tmp_path / "cycle.onnx"
    proto.graph.node[0].input[0] = proto.graph.node[-1].output[0]
    onnx.save(proto, path)
    data = json.loads(manifest_path(tiny_model).read_text())
    manifest_path(path).write_text(json.dumps({**data, "sha256": sha256_of(path)}))
    with pytest.raises(ModelError, match=r"cycle\.onnx: not a usable model .*before that is"):
        OpenVinoSession(path, 1)


def test_models_of_ours_are_told_by_their_operators(tiny_model: Path, tmp_path: Path) -> None:
    assert own_operators(tiny_model) >= {"Select", "SparseConv"}
    assert not is_transformer(tiny_model)
    adopted = onnx.load(tiny_model)
    adopted.graph.node.append(helper.make_node("End", ["x"], ["y"], domain="pag"))
    onnx.save(adopted, tmp_path / "adopted.onnx")
    assert is_transformer(tmp_path / "adopted.onnx")
    foreign = helper.make_node("End", ["x"], ["y"], domain="other")
    del adopted.graph.node[:]
    adopted.graph.node.append(foreign)
    onnx.save(adopted, tmp_path / "foreign.onnx")
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    for name in ("foreign.onnx", "damaged.onnx", "missing.onnx"):
        assert own_operators(tmp_path / name) == frozenset()


def test_a_file_larger_than_a_model_may_be_is_not_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_precheck, "MAX_MODEL_BYTES", tiny_model.stat().st_size - 1)
    assert own_operators(tiny_model) == frozenset()
