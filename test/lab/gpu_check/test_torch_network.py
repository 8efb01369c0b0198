"""Networks in torch with our kernels, on a CPU: torch's float16 there, the kernels interpreted.

The path is the one of a GPU, from the model file to the outputs. Not proven: that a GPU's kernels,
cuDNN's fused calls and the recording of a CUDA graph work, how they round, and any time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from cpu_device import DefinedDevice, InterpretedDevice  # noqa: E402

from pag_ros.errors import BackendError  # noqa: E402
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec  # noqa: E402
from pag_ros.lab.export import ModelCard, export_model  # noqa: E402
from pag_ros.lab.gpu_check import report as gpu_report  # noqa: E402
from pag_ros.lab.gpu_check import torch_network as gpu_torch  # noqa: E402
from pag_ros.lab.gpu_check import torch_programs  # noqa: E402
from pag_ros.lab.gpu_check.operands import random_inputs, relative_error  # noqa: E402
from pag_ros.lab.gpu_check.torch_graph import TorchGraph  # noqa: E402
from pag_ros.lab.gpu_check.torch_programs import DensePrograms, SparsePrograms  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network, multipool  # noqa: E402
from pag_ros.lab.model.gating import DenseGating  # noqa: E402
from pag_ros.manifest import LabelClass, load_manifest, save_manifest, sha256_of  # noqa: E402
from pag_ros.runtime import Prediction, find_model, open_session  # noqa: E402
from pag_ros.runtime.tensorrt.graph import EngineGraph, engine_graph  # noqa: E402
from pag_ros.runtime.tensorrt.self_check import (  # noqa: E402
    compared,
    drawn_room,
    reference_path,
    write_reference,
)

SIZE = (96, 64)
"""Gated blocks then have 12x8 pixels."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with all heads and a MultiPool, exported, and what the CPU makes of it."""
    torch.manual_seed(3)
    heads = ("depth", "normals", "segmentation", "boundary")
    network = build_network(NetworkConfig(heads=heads, classes=5, blocks=2, channels=16))
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # true means, so that what a block adds is as large as its input
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96) * 255, DenseGating())
    for block in network.gated:
        torch.nn.init.normal_(block.gate.weight)
    # Vectors near zero would turn with every rounding.
    torch.nn.init.constant_(network.decoder.heads["normals"].bias, -3.0)
    card = ModelCard(
        name="small",
        classes=tuple(LabelClass(f"class{i}", (i, i, i)) for i in range(5)),
        depth_range_m=(0.3, 10.0),
        focal_range=(0.5, 1.5),
        license="Apache-2.0",
        training_data="none",
    )
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    export_model(network.eval(), card, SIZE, path)
    session = open_session(path, "cpu", 1)
    write_reference(session, path)
    session.close()
    return path


@pytest.fixture
def device(interpreter) -> InterpretedDevice:
    return InterpretedDevice(interpreter)


def session_of(device: InterpretedDevice, model: Path, programs) -> gpu_torch.TorchSession:
    return gpu_torch.TorchSession(device, load_manifest(model), engine_graph(model), programs)


def on_the_cpu(model: Path, keep: list[int]) -> Prediction:
    session = open_session(model, "cpu", 1)
    manifest = session.manifest
    prediction = session.infer(drawn_room(manifest), manifest.focal_range[0], keep)
    session.close()
    return prediction


def in_torch(session: gpu_torch.TorchSession, keep: list[int]) -> Prediction:
    return session.infer(drawn_room(session.manifest), session.manifest.focal_range[0], keep)


def assert_alike(found: Prediction, expected: Prediction) -> None:
    assert found.keep_used == expected.keep_used
    assert np.median(np.abs(found.depth / expected.depth - 1.0)) < 5e-3
    assert np.median(np.abs(found.normals - expected.normals)) < 5e-3
    assert np.mean(found.labels == expected.labels) > 0.97
    assert np.median(np.abs(found.confidence - expected.confidence)) < 5e-3
    if expected.boundary is not None:
        assert np.median(np.abs(found.boundary - expected.boundary)) < 5e-3
    assert np.mean(found.computed != expected.computed) < 0.05


def test_with_our_kernels_it_computes_what_the_cpu_session_computes(model, device) -> None:
    """At any budget, recorded once."""
    session = session_of(device, model, SparsePrograms(device))
    pixels = [block.pixels for block in session.manifest.blocks]
    for share in (0.0, 0.4, 1.0):
        keep = [round(share * each) for each in pixels]
        assert_alike(in_torch(session, keep), on_the_cpu(model, keep))
    programs = list(engine_graph(model).programs.values())
    assert {type(spec) for spec in device.launched} == {StampSpec, SelectSpec, ConvSpec}
    assert set(device.launched) == {StampSpec(), *programs}
    assert len(device.launched) == 4 * (1 + len(programs))  # recorded, then three times replayed


def test_the_dense_network_beside_it_computes_the_same_at_every_pixel(model, device) -> None:
    session = session_of(device, model, DensePrograms(candidates=True))
    keep = [block.pixels for block in session.manifest.blocks]
    assert_alike(in_torch(session, keep), on_the_cpu(model, keep))
    assert not device.launched


def test_a_shipped_model_has_the_stored_numbers() -> None:
    """Our kernels by their definition here: interpreting as many pixels takes too long."""
    model, device = find_model("pag_lite0_indoor"), DefinedDevice()
    session = session_of(device, model, SparsePrograms(device))
    for name, deviation, allowed in compared(session, model):
        assert deviation <= 0.5 * allowed, name


def test_a_shipped_model_dense_computes_what_it_does_at_the_full_budget() -> None:
    model = find_model("pag_lite0_indoor")
    session = session_of(DefinedDevice(), model, DensePrograms(candidates=True))
    keep = [block.pixels for block in session.manifest.blocks]
    assert_alike(in_torch(session, keep), on_the_cpu(model, keep))


@pytest.mark.parametrize("form", [{"out_rows": True}, {"base": True, "residual": True}])
def test_a_dense_runtime_computes_multipools_candidates_or_a_plain_convolution(form) -> None:
    spec = ConvSpec(9, 13, 16, 16, by_map=True, activation="relu", **form)
    inputs = random_inputs(spec, spec.pixels)
    without = {name: array for name, array in inputs.items() if name != "dilation"}
    plain = replace(spec, by_map=False)
    assert _dense_error(spec, inputs, DensePrograms(candidates=True)) < 1e-2
    assert _dense_error(spec, inputs, DensePrograms(candidates=False)) > 0.1
    assert _dense_error(plain, without, DensePrograms(candidates=False)) < 1e-2


def test_the_candidates_are_those_of_the_model() -> None:
    assert torch_programs.DILATIONS == multipool.DILATIONS


def _dense_error(spec: ConvSpec, inputs, programs: DensePrograms) -> float:
    given = {name: torch.from_numpy(inputs[name]) for name in programs.reads(spec)}
    for name in ("weight", "bias"):
        given[name] = programs.prepare(name, given[name])
    (y,) = programs.run(spec, given)
    return relative_error(spec, inputs, y.reshape(spec.outputs[0].shape).numpy())


def test_a_row_tells_of_every_model_and_budget(model, device, monkeypatch) -> None:
    monkeypatch.setattr(gpu_torch, "BUDGETS", (0.3, 1.0))
    rows = list(gpu_torch.measure(device, [model], rounds=1))
    assert rows[0]["outcome"] == "ran", rows[0]["text"]
    assert [row["budget"] for row in rows] == [0.3, 1.0]
    for row in rows:
        assert row["text"].endswith("% of the allowed deviation")
        fastest = min(row["dense_ms"], row["dense_plain_ms"])
        assert row["speedup"] == pytest.approx(fastest / row["ours_ms"])
    assert gpu_report.is_right(rows)
    assert "| small | " in reported(rows)


def reported(rows: list[dict]) -> str:
    return gpu_report.report([{"part": "torch", **row} for row in rows])


@pytest.mark.parametrize("programs", [SparsePrograms, DensePrograms])
def test_wrong_numbers_are_a_failure(model, device, monkeypatch, programs) -> None:
    prepare = programs.prepare
    monkeypatch.setattr(programs, "prepare", lambda *arguments: 1.5 * prepare(*arguments))
    rows = list(gpu_torch.measure(device, [model], rounds=1))
    (row,) = rows
    assert row["outcome"] == "failed"
    assert row["text"].startswith("the network computes something else than the model: at budget")
    assert not gpu_report.is_right(rows)
    assert "- torch, small: FAILED: the network computes" in reported(rows)


def test_a_model_without_stored_outputs_is_run_and_called_unchecked(
    model, device, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(gpu_torch, "BUDGETS", (0.5,))
    copy = _changed(model, tmp_path, lambda proto: None)
    assert not reference_path(copy).exists()
    rows = list(gpu_torch.measure(device, [copy], rounds=1))
    assert [row["text"].rpartition(", ")[2] for row in rows] == ["numbers NOT checked"]


def test_a_machine_without_onnx_is_told_and_not_wrong(model, device, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    rows = list(gpu_torch.measure(device, [model], rounds=1))
    assert gpu_report.is_right(rows)
    text = reported(rows)
    assert (
        "- torch, all: absent: graphs for the GPU need the package onnx: pip install onnx" in text
    )


def test_an_operator_that_it_does_not_know_is_named(model, device, tmp_path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Softplus"

    copy = _changed(model, tmp_path, rename)
    with pytest.raises(BackendError, match="no torch for the operators Softplus"):
        session_of(device, copy, SparsePrograms(device))


class Scribbler:
    """Programs that write nothing but zeros into the map that they are given."""

    has_gates = True

    def reads(self, spec) -> frozenset[str]:
        return frozenset({"base"})

    def run(self, spec, inputs):
        return [inputs["base"].zero_()]


def test_a_program_in_place_leaves_alone_what_others_read() -> None:
    """In torch a transposed tensor lies in the memory of the one it was made from."""
    spec = ConvSpec(2, 3, 4, 4, x_rows=True, base=True, in_place=True)
    ports = ["rows", "index", "slot", "count", "weight", "bias", "moved"]
    nodes = [
        helper.make_node("Relu", ["picture"], ["kept"], "relu"),
        helper.make_node("Transpose", ["kept"], ["moved"], "move", perm=[0, 2, 3, 1]),
        helper.make_node("sparse_conv_base", ports, ["written"], "conv", domain="pag"),
    ]
    for outputs in (["kept", "written"], ["written"]):
        proto = helper.make_model(helper.make_graph(nodes, "views", [], []))
        graph = EngineGraph(proto.SerializeToString(), {"conv": spec})
        network = TorchGraph(graph, outputs, Scribbler(), "cpu")
        found = network.run({"picture": torch.ones(1, 4, 2, 3)})
        assert (found["written"] == 0.0).all()
        assert (found.get("kept", torch.ones(())) == 1.0).all()


def _changed(model: Path, folder: Path, change) -> Path:
    proto = onnx.load(model)
    change(proto)
    path = folder / "changed.onnx"
    onnx.save(proto, path)
    save_manifest(replace(load_manifest(model), sha256=sha256_of(path)), path)
    return path
