"""The written ONNX file: its interface, its manifest, and its numbers against torch."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import pag_ros.lab.export  # noqa: E402
from pag_ros.errors import ModelError, ParameterError  # noqa: E402
from pag_ros.lab.export import (  # noqa: E402
    ModelCard,
    export_dense,
    export_model,
    metric_at,
    read_card,
)
from pag_ros.lab.export.graph import DeployedNetwork  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.model.gating import DenseGating  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402
from pag_ros.manifest import LabelClass, load_manifest, save_manifest  # noqa: E402
from pag_ros.runtime import find_model, open_session  # noqa: E402
from pag_ros.runtime.network_size import resized  # noqa: E402

SIZE = (96, 64)
TOLERANCE = 2e-3
"""Largest difference allowed between torch and a backend running the same file: float32 sums in
another order, on depths of a few metres and probabilities."""

CARD = ModelCard(
    name="tiny",
    classes=tuple(LabelClass(f"class{i}", (i, i, i)) for i in range(5)),
    depth_range_m=(0.3, 10.0),
    focal_range=(0.5, 1.5),
    license="Apache-2.0",
    training_data="none",
    size_exponent=0.5,
)


def rounded_to_half(network: torch.nn.Module) -> torch.nn.Module:
    """Export stores large weights in half precision; the network in memory must hold the same."""
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    return network


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    config = NetworkConfig(
        heads=("depth", "normals", "segmentation", "boundary"),
        classes=5,
        blocks=3,
        channels=16,
        pooled_scale=True,
        canonical_normals=True,
    )
    network = build_network(config)
    network.train()
    with torch.no_grad():  # lively normalisation statistics
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96) * 255, DenseGating())
    for block in network.gated:
        torch.nn.init.normal_(block.gate.weight)
    torch.nn.init.normal_(network.decoder.scale.output.weight)
    return rounded_to_half(network).eval()


@pytest.fixture(scope="module")
def model(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    export_model(network, CARD, SIZE, path)
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def test_graph_has_the_documented_interface(model: Path) -> None:
    graph = onnx.load(model).graph
    assert [i.name for i in graph.input] == ["image", "fx", "keep", "plan"]
    assert [o.name for o in graph.output] == [
        "depth",
        "normals",
        "labels",
        "confidence",
        "boundary",
        "count",
        "index0",
        "index1",
        "index2",
    ]
    selects = [n for n in graph.node if n.op_type == "Select"]
    assert [n.attribute[0].s for n in selects] == [b"block0", b"block1", b"block2"]
    assert all(n.domain == "pag" for n in selects)


def test_trunk_stays_channels_last(model: Path) -> None:
    """Layout changes only at the two ends: image in, trunk in, trunk out, normals out."""
    graph = onnx.load(model).graph
    assert sum(n.op_type == "Transpose" for n in graph.node) == 4


def test_weights_travel_in_half_precision(model: Path) -> None:
    large = [c for c in onnx.load(model).graph.initializer if np.prod(c.dims) >= 1024]
    assert large
    assert all(c.data_type == onnx.TensorProto.FLOAT16 for c in large)


def test_file_holds_no_paths_of_the_machine_that_wrote_it(model: Path) -> None:
    source = str(Path(pag_ros.lab.export.__file__).parents[3])
    assert source.encode() not in model.read_bytes()
    assert b"stack_trace" not in model.read_bytes()


def test_other_weights_keep_nothing_that_was_measured_of_those_before(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    path, scores = tmp_path / "tiny.onnx", {"1.00": {"depth delta1": 0.5}}
    known = export_model(network, CARD, SIZE, path)
    measured = {"scores": scores, "scores_at": {"48x32": scores}, "scores_in": {"bf16": scores}}
    save_manifest(replace(known, **measured), path)
    export_model(network, CARD, SIZE, path)
    assert load_manifest(path) == known


def test_manifest_describes_the_file(model: Path) -> None:
    manifest = load_manifest(model)
    assert (manifest.width, manifest.height) == SIZE
    assert [b.name for b in manifest.blocks] == ["block0", "block1", "block2"]
    assert manifest.blocks[0].pixels == 8 * 12
    assert manifest.blocks[0].macs_per_pixel == 2 * 9 * 16 * 16
    assert manifest.dense_macs > 0
    assert manifest.keep_for(1.0) == (96, 96, 96)
    assert manifest.keep_for(0.5) == (48, 48, 48)
    assert manifest.focal_range == (48.0, 144.0)


@pytest.mark.parametrize("size", [SIZE, (48, 32)])
def test_a_network_without_depth_runs_though_it_has_no_use_for_the_focal_length(
    image: np.ndarray, size: tuple[int, int], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    path = tmp_path / "edges.onnx"
    config = NetworkConfig(heads=("boundary",), classes=5, blocks=1, channels=16)
    deployed = DeployedNetwork(rounded_to_half(build_network(config)).eval())
    export_model(deployed.network, CARD, SIZE, path)
    given = np.ascontiguousarray(image[: size[1], : size[0]])
    everywhere = (size[0] // 8 * (size[1] // 8),)
    with torch.no_grad():
        picture, keep = torch.from_numpy(given)[None], torch.tensor(everywhere, dtype=torch.int32)
        expected = deployed(picture, torch.tensor([80.0]), keep, no_limits(1))[0][0].numpy()
    session = open_session(path, "cpu", size=size)
    got = session.infer(given, 80.0, everywhere)
    session.close()
    assert got.boundary is not None
    assert np.abs(got.boundary - expected).max() < TOLERANCE


@pytest.mark.parametrize("keep", [(0, 0, 0), (1, 95, 40), (96, 96, 96)])
def test_cpu_session_agrees_with_torch(
    network: torch.nn.Module, model: Path, image: np.ndarray, keep: tuple[int, ...]
) -> None:
    deployed = DeployedNetwork(network)
    with torch.no_grad():
        outputs = deployed(
            torch.from_numpy(image)[None],
            torch.tensor([80.0]),
            torch.tensor(keep, dtype=torch.int32),
            no_limits(3),
        )
    expected = {n: o.numpy() for n, o in zip(deployed.output_names(), outputs, strict=True)}
    session = open_session(model, "cpu")
    got = session.infer(image, 80.0, keep)
    session.close()
    assert got.keep_used == keep
    assert np.abs(got.depth / expected["depth"][0] - 1).max() < TOLERANCE
    assert np.abs(got.normals - expected["normals"][0]).max() < TOLERANCE
    assert np.abs(got.confidence - expected["confidence"][0]).max() < TOLERANCE
    assert got.boundary is not None
    assert np.abs(got.boundary - expected["boundary"][0]).max() < TOLERANCE
    assert (got.labels != expected["labels"][0]).mean() < 0.005


@pytest.mark.parametrize("size", [(48, 32), (120, 88), (200, 64), (64, 136)])
def test_the_same_file_at_another_size_agrees_with_torch_at_that_size(
    network: torch.nn.Module, model: Path, size: tuple[int, int]
) -> None:
    """Sides that are no multiples of 16 and 32 among them, whose maps the strides round up."""
    _assert_agrees(network, model, size)


def test_the_paper_form_runs_at_another_size_too(tmp_path: Path) -> None:
    torch.manual_seed(5)
    config = NetworkConfig("resnet18", classes=5, output_stride=16)
    resnet = rounded_to_half(build_network(config)).eval()
    export_model(resnet, CARD, SIZE, tmp_path / "resnet.onnx")
    _assert_agrees(resnet, tmp_path / "resnet.onnx", (144, 48))


def _assert_agrees(network: torch.nn.Module, model: Path, size: tuple[int, int]) -> None:
    """A session at that size gives what the network in memory gives."""
    session = open_session(model, "cpu", size=size)
    manifest = session.manifest
    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    keep = tuple(round(0.6 * block.pixels) for block in manifest.blocks)
    got = session.infer(image, 80.0, keep)
    session.close()
    deployed = DeployedNetwork(network)
    # The graph compares with the width that it was exported for, torch with that of the image.
    scale = min(size[0] / SIZE[0], size[1] / SIZE[1])
    focal_px = 80.0 / scale * size[0] / SIZE[0]
    with torch.no_grad():
        outputs = deployed(
            torch.from_numpy(image)[None],
            torch.tensor([focal_px]),
            torch.tensor(keep, dtype=torch.int32),
            no_limits(len(keep)),
        )
    expected = {n: o.numpy() for n, o in zip(deployed.output_names(), outputs, strict=True)}
    assert got.keep_used == keep
    depth = expected["depth"][0] * scale**CARD.size_exponent
    assert np.abs(got.depth / depth - 1).max() < TOLERANCE / 10
    assert np.abs(got.normals - expected["normals"][0]).max() < TOLERANCE / 10
    assert np.abs(got.confidence - expected["confidence"][0]).max() < TOLERANCE / 10
    assert (got.labels != expected["labels"][0]).mean() < 0.005


@pytest.mark.parametrize("size", [(48, 32), (144, 96), (96, 96)])
def test_a_network_made_for_another_size_is_as_metric_there_as_the_file_at_that_size(
    network: torch.nn.Module, model: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    before = copy.deepcopy(network.state_dict())
    other = tmp_path / "other.onnx"
    export_model(metric_at(network, size, SIZE, CARD.size_exponent), CARD, size, other)
    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    depths = []
    for session in (open_session(other, "cpu"), open_session(model, "cpu", size=size)):
        keep = tuple(block.pixels for block in session.manifest.blocks)
        depths.append(session.infer(image, 0.8 * size[0], keep).depth)
        session.close()
    np.testing.assert_allclose(depths[0], depths[1], rtol=TOLERANCE)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_network_without_depth_is_made_for_no_other_size() -> None:
    config = NetworkConfig(heads=("segmentation",), classes=5, blocks=1, channels=16)
    with pytest.raises(ModelError, match="no depth"):
        metric_at(build_network(config), (48, 32), SIZE, 0.5)


def test_the_manifest_at_another_size_is_that_of_an_export_at_that_size(
    network: torch.nn.Module, model: Path, tmp_path: Path
) -> None:
    size = (192, 128)
    exported = export_model(network, CARD, size, tmp_path / "large.onnx")
    derived = resized(load_manifest(model), size)
    assert derived.blocks == exported.blocks
    assert derived.budgets == exported.budgets
    assert derived.focal_range == exported.focal_range
    assert derived.dense_macs == pytest.approx(exported.dense_macs, rel=0.02)


def test_dense_export_agrees_with_all_pixels_kept(
    network: torch.nn.Module, model: Path, image: np.ndarray, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    export_dense(network, SIZE, tmp_path / "dense.onnx")
    dense = onnxruntime.InferenceSession(str(tmp_path / "dense.onnx"))
    depth, normals = dense.run(
        ["depth", "normals"], {"image": image[None], "fx": np.array([80.0], np.float32)}
    )
    session = open_session(model, "cpu")
    got = session.infer(image, 80.0, (96, 96, 96))
    session.close()
    assert np.abs(got.depth / depth[0] - 1).max() < TOLERANCE
    assert np.abs(got.normals - normals[0]).max() < TOLERANCE


def test_card_of_the_shipped_model_is_readable() -> None:
    card = read_card(Path(__file__).parents[3] / "engines" / "pag_lite0_indoor.yaml")
    assert card.name == "pag_lite0_indoor"
    assert [c.name for c in card.classes][:3] == ["wall", "floor", "ceiling"]
    assert len(card.classes) == 14
    shipped = load_manifest(find_model())
    assert card.size_exponent == shipped.size_exponent > 0.0


def test_incomplete_card_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("name: x\n")
    with pytest.raises(ParameterError, match=r"card\.yaml.*classes"):
        read_card(tmp_path / "card.yaml")


CARD_TEXT = """
name: x
classes: {wall: [1, 2, 3], floor: [4, 5, 6]}
depth_range_m: [0.3, 10.0]
focal_range: [0.5, 1.5]
license: none
training_data: none
"""


@pytest.mark.parametrize(
    ("old", "new", "culprit"),
    [
        ("[4, 5, 6]", "[4, 5, 600]", "colour .*0 to 255"),
        ("[0.3, 10.0]", "[10.0, 0.3]", "0 < low < high"),
        ("[0.3, 10.0]", "[.nan, 10.0]", "0 < low < high"),
        ("training_data: none", "training_data: none\nsize_exponent: 1.5", "size_exponent.*0.*1"),
        ("license", "licence", "'licence' is none of name, classes"),
        ("name: x", "", "lacks 'name'"),
    ],
)
def test_a_card_that_would_make_a_bad_manifest_is_refused(
    old: str, new: str, culprit: str, tmp_path: Path
) -> None:
    (tmp_path / "card.yaml").write_text(CARD_TEXT.replace(old, new))
    with pytest.raises(ParameterError, match=culprit):
        read_card(tmp_path / "card.yaml")


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c", "d", "f"]])
def test_a_card_of_other_classes_than_the_network_is_refused(
    names: list[str], network: torch.nn.Module, tmp_path: Path
) -> None:
    card = replace(CARD, classes=tuple(LabelClass(name, (0, 0, 0)) for name in names))
    named = copy.copy(network)
    named.config = replace(network.config, class_names=("a", "b", "c", "d", "e"))
    with pytest.raises(ParameterError, match="the card of tiny has"):
        export_model(named, card, SIZE, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.json", "folder.onnx", "file/a.onnx"])
def test_a_name_that_cannot_be_written_is_said_before_the_export(
    name: str, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("exported"))
    with pytest.raises(ParameterError, match=name):
        export_dense(network, SIZE, tmp_path / name)
