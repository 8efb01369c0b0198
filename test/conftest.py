"""What tests of several layers use: a tiny model in the shape of a real one, built node by node,
with a manifest beside it; small rooms; the GPU kernels in Triton's interpreter."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from fuzzing import COUNT_VARIABLE, TALLIES, table
from hypothesis import HealthCheck, settings
from onnx import TensorProto, helper, numpy_helper
from triton_interpreter import Interpreter

from pag_ros.lab.threads import wait_passively
from pag_ros.manifest import (
    NO_LABEL,
    BlockSpec,
    LabelClass,
    Manifest,
    manifest_path,
    save_manifest,
    sha256_of,
)
from pag_ros.runtime.signal_stack import kept_signal_stack

HEIGHT, WIDTH, STRIDE, CHANNELS, BLOCKS, CLASSES = 48, 64, 8, 8, 2, 3
GRID = (HEIGHT // STRIDE, WIDTH // STRIDE)

wait_passively()  # nothing has imported torch so far

# What a shell has started in the background ignores Ctrl-C, and so would the nodes that tests stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A loaded machine is slow, and no test is to fail for that.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of `make fuzz`; a usual run has no need of it."""
    if TALLIES and COUNT_VARIABLE in os.environ:
        terminalreporter.section("damage")
        for line in table():
            terminalreporter.write_line(line)


@pytest.fixture
def without_standard_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """`adopt` leaves NAME.standard.onnx out, which takes it as long as the model: for tests of
    something else."""
    monkeypatch.setattr("pag_ros.lab.transformers.adopt.export_standard", lambda *_: None)


@pytest.fixture(autouse=True)
def own_signal_stack() -> Iterator[None]:
    """Tests that use OpenVINO without a session of ours must not spoil those that follow."""
    with kept_signal_stack():
        yield


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    running = Interpreter()
    yield running
    running.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a random model 64x48 with two gated blocks on an 8x6 grid, all heads but boundary."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, for a test to change."""
    shutil.copy(manifest_path(tiny_model), tmp_path)
    return Path(shutil.copy(tiny_model, tmp_path))


def write_tiny_model(path: Path) -> Path:
    onnx.save(tiny_graph(), path)
    pixels = GRID[0] * GRID[1]
    blocks = tuple(
        BlockSpec(f"block{i}", *GRID, CHANNELS, 18 * CHANNELS * CHANNELS) for i in range(BLOCKS)
    )
    manifest = Manifest(
        name="tiny",
        sha256=sha256_of(path),
        height=HEIGHT,
        width=WIDTH,
        focal_range=(30.0, 90.0),
        depth_range_m=(0.3, 10.0),
        classes=tuple(LabelClass(n, (90 * i, 40, 200)) for i, n in enumerate(["a", "b", "c"])),
        blocks=blocks,
        dense_macs=pixels * STRIDE * STRIDE * 3 * CHANNELS,
        heads=("depth", "normals", "segmentation"),
        license="Apache-2.0",
        training_data="none",
        budgets={"0.50": (pixels // 2, pixels // 4)},
    )
    save_manifest(manifest, path)
    return path


def tiny_graph() -> onnx.ModelProto:
    """Patch embedding -> gated blocks -> heads, as the exporter would write it."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    def random(name: str, *shape: int) -> str:
        return constant(name, (rng.normal(size=shape) * 0.2).astype(np.float32))

    def add(op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, outputs, outputs[0], domain=domain, **attributes))
        return outputs[0]

    add("Cast", ["image"], ["float"], to=TensorProto.FLOAT)
    add("Mul", ["float", constant("scale", np.float32(1 / 255))], ["scaled"])
    add("Transpose", ["scaled"], ["nchw"], perm=[0, 3, 1, 2])
    stem = random("stem", CHANNELS, 3, STRIDE, STRIDE)
    add("Conv", ["nchw", stem], ["embedded"], strides=[STRIDE] * 2)
    add("Relu", ["embedded"], ["features"])
    x = add("Transpose", ["features"], ["nhwc"], perm=[0, 2, 3, 1])

    for i in range(BLOCKS):
        x = _add_block(add, constant, random, x, f"block{i}", i)

    add("Concat", [f"block{i}_count" for i in range(BLOCKS)], ["count"], axis=0)
    _add_heads(add, constant, random, x)

    picture = [1, HEIGHT, WIDTH]
    inputs = [
        ("image", TensorProto.UINT8, [*picture, 3]),
        ("fx", TensorProto.FLOAT, [1]),
        ("keep", TensorProto.INT32, [BLOCKS]),
        ("plan", TensorProto.FLOAT, [BLOCKS, 3]),
    ]
    outputs = [
        ("depth", TensorProto.FLOAT, picture),
        ("normals", TensorProto.FLOAT, [*picture, 3]),
        ("labels", TensorProto.UINT8, picture),
        ("confidence", TensorProto.FLOAT, picture),
        ("count", TensorProto.INT32, [BLOCKS]),
        *((f"index{i}", TensorProto.INT32, [GRID[0] * GRID[1]]) for i in range(BLOCKS)),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        weights,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pag", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _add_block(add, constant, random, x: str, name: str, slot: int) -> str:
    gate = random(f"{name}_gate", CHANNELS, 1)
    add("MatMul", [x, gate], [f"{name}_logit"])
    axis = constant(f"{name}_axis", np.array([3]))
    add("Squeeze", [f"{name}_logit", axis], [f"{name}_score"])
    at = constant(f"{name}_at", np.array(slot))
    add("Gather", ["keep", at], [f"{name}_keep"])
    add("Gather", ["plan", at], [f"{name}_limits"])
    index, count = f"index{slot}", f"{name}_count"
    selected = [f"{name}_score", f"{name}_keep", f"{name}_limits"]
    add("Select", selected, [index, count], "pag", stage=name)
    conv1 = [random(f"{name}_w1", CHANNELS, 3, 3, CHANNELS), random(f"{name}_b1", CHANNELS)]
    conv2 = [random(f"{name}_w2", CHANNELS, 3, 3, CHANNELS), random(f"{name}_b2", CHANNELS)]
    add("SparseConv", [x, index, count, *conv1], [f"{name}_h"], "pag", kernel=3, relu=1)
    inputs = [f"{name}_h", index, count, *conv2, x]
    return add("SparseConv", inputs, [f"{name}_y"], "pag", kernel=3, relu=1, residual=1)


def _add_heads(add, constant, random, x: str) -> None:
    channels = 1 + 3 + CLASSES
    add("MatMul", [x, random("heads", CHANNELS, channels)], ["small"])
    add("Transpose", ["small"], ["small_nchw"], perm=[0, 3, 1, 2])
    scales = constant("scales", np.array([1, 1, STRIDE, STRIDE], np.float32))
    add("Resize", ["small_nchw", "", scales], ["large"], mode="linear")
    add("Transpose", ["large"], ["large_nhwc"], perm=[0, 2, 3, 1])
    parts = constant("parts", np.array([1, 3, CLASSES]))
    add("Split", ["large_nhwc", parts], ["log_depth", "raw_normals", "logits"], axis=3)
    last = constant("last", np.array([3]))
    add("Exp", ["log_depth"], ["ratio"])
    add("Squeeze", ["ratio", last], ["ratio_picture"])
    add("Mul", ["ratio_picture", "fx"], ["depth_focal"])
    add("Mul", ["depth_focal", constant("focal_scale", np.float32(1 / 50))], ["depth"])
    add("LpNormalization", ["raw_normals"], ["normals"], axis=3, p=2)
    add("Softmax", ["logits"], ["probabilities"], axis=3)
    add("ReduceMax", ["probabilities", last], ["confidence"], keepdims=0)
    add("ArgMax", ["logits"], ["label_ids"], axis=3, keepdims=0)
    add("Cast", ["label_ids"], ["labels"], to=TensorProto.UINT8)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Six frames of 64x48: a slanted floor before a wall, each with its own brightness."""
    folder = tmp_path / "rooms"
    (folder / "frames").mkdir(parents=True)
    with (folder / "frames.jsonl").open("w") as index:
        for i in range(6):
            _write_room(folder, f"{i:06d}", brightness=40 * i)
            index.write(json.dumps({"id": f"{i:06d}", "fx": 52.0 + i}) + "\n")
    return folder


def _write_room(folder: Path, name: str, brightness: int) -> None:
    depth = np.full((48, 64), 3000, np.uint16)
    depth[24:] = np.linspace(3000, 1000, 24, dtype=np.uint16)[:, None]
    depth[:4, :4] = 0
    normals = np.zeros((48, 64, 3), np.float32)
    normals[:24] = (0.6, 0.0, -0.8)
    normals[24:] = (0.0, -1.0, 0.0)
    encoded = np.round((normals + 1) * 127.5).astype(np.uint8)
    encoded[:4, :4] = 0
    labels = np.zeros((48, 64), np.uint8)
    labels[24:] = 1
    labels[:4, :4] = NO_LABEL
    color = np.full((48, 64, 3), brightness, np.uint8)
    color[:, :32, 2] = 255  # the left half is red, in BGR
    stem = str(folder / "frames" / name)
    cv2.imwrite(f"{stem}.color.jpg", color)
    cv2.imwrite(f"{stem}.depth.png", depth)
    cv2.imwrite(f"{stem}.normal.png", encoded[..., ::-1])
    cv2.imwrite(f"{stem}.label.png", labels)
