"""A checkpoint of Depth Anything 3 becomes a model like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

import cv2  # noqa: E402
from small_v3 import (  # noqa: E402
    BLOCKS,
    HEIGHT,
    PATCHES,
    SIZE,
    WIDTH,
    known_sizes,
    saved,
    small_v3,
)

from pag_ros.cli import main  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402
from pag_ros.lab.transformers.adopt import (  # noqa: E402
    LICENCES,
    export_depth_anything,
    export_standard,
)
from pag_ros.lab.transformers.deployed import DeployedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.depth_anything import SIZES, GatedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.disparities import disparity_of  # noqa: E402
from pag_ros.lab.transformers.metres import BEYOND, Factor  # noqa: E402
from pag_ros.lab.transformers.scale_fit import ScaleFit  # noqa: E402
from pag_ros.manifest import load_manifest  # noqa: E402
from pag_ros.runtime import open_session  # noqa: E402

FACTOR = 2.5
KEEPS = [(PATCHES,) * BLOCKS, (1, 20, 47, 3, 30, 9), (5,) * BLOCKS]


@pytest.fixture(scope="module", autouse=True)
def _known_sizes() -> Iterator[None]:
    with known_sizes():
        yield


def with_metres(farthest_m: float = 100.0) -> GatedDepthAnything:
    network = small_v3()
    fit = ScaleFit(Factor(FACTOR, farthest_m), "fitted to 20 pictures", (0.8, 0.9), 0.1)
    network.give_metres(fit)
    return network


@pytest.fixture(scope="module")
def model(_known_sizes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adopted") / "toy.onnx"
    export_depth_anything(with_metres(), "toy", SIZE, path)
    return path


def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def depth_in_torch(network: GatedDepthAnything, keep: tuple[int, ...]) -> np.ndarray:
    with torch.no_grad():
        outputs = DeployedDepthAnything(network)(
            torch.from_numpy(picture())[None],
            torch.tensor([90.0]),
            torch.tensor(keep, dtype=torch.int32),
            no_limits(BLOCKS),
        )
    return outputs[0][0].numpy()


@pytest.mark.parametrize("keep", [*KEEPS, (0,) * BLOCKS])
def test_the_session_gives_what_torch_gives(model: Path, keep: tuple[int, ...]) -> None:
    expected = depth_in_torch(with_metres(), keep)
    session = open_session(model, "cpu", 1)
    got = session.infer(picture(), 90.0, keep)
    session.close()
    assert got.keep_used == keep
    assert expected.std() > 0.1 * expected.mean()
    np.testing.assert_allclose(got.depth, expected, rtol=0.02)


def test_the_gated_graph_is_the_network_itself() -> None:
    network = with_metres()
    with torch.no_grad():
        for keep in KEEPS:
            image = torch.from_numpy(picture())[None].permute(0, 3, 1, 2) / 255.0
            expected = network(image, keep)[0, 0].numpy()
            np.testing.assert_allclose(depth_in_torch(network, keep), expected, rtol=1e-4)


def test_in_standard_operators_other_runtimes_give_what_torch_gives(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[bench]'")
    import openvino as ov

    path = tmp_path / "toy.standard.onnx"
    export_standard(with_metres(), SIZE, path, "")
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert {node.domain for node in graph.graph.node} == {""}
    elsewhere = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for keep in KEEPS:
        feeds = {
            "image": picture()[None],
            "fx": np.array([90.0], np.float32),
            "keep": np.array(keep, np.int32),
        }
        expected = depth_in_torch(with_metres(), keep)
        for depth in (elsewhere.run(None, feeds)[0], compiled(feeds)[0]):
            np.testing.assert_allclose(depth[0], expected, rtol=0.02)


def test_the_manifest_says_what_it_is(model: Path) -> None:
    manifest = load_manifest(model)
    assert manifest.depth_range_m == (0.1, 100.0)
    assert manifest.focal_range == pytest.approx((WIDTH * 0.8 / 1.1, WIDTH * 0.9 * 1.1))
    assert [b.name for b in manifest.blocks] == [f"block{slot}" for slot in range(BLOCKS)]
    assert manifest.training_data.startswith("Depth Anything 3 (Lin et al., 2025)")
    assert "metres: 2.5 * relative depth, fitted to 20 pictures" in manifest.training_data
    # The first of the head's products reads two features of each token.
    first = PATCHES * 96 * 8
    blocks = BLOCKS * (2 * 49 * 48 * 48 + manifest.blocks[0].macs_per_pixel)
    assert manifest.dense_macs > blocks + PATCHES * 3 * 14 * 14 * 48 + first


def test_small_base_and_the_single_picture_ones_may_be_sold() -> None:
    licences = {size: LICENCES[size].split(" ")[0] for size in SIZES if "toy" not in size}
    free = {size for size, licence in licences.items() if licence == "Apache-2.0"}
    assert free == {"small", "v3-small", "v3-base", "v3-mono", "v3-metric"}
    assert licences["v3-large"] == "CC-BY-NC-4.0"


def test_metres_of_the_metric_one_follow_the_focal_length(tmp_path: Path) -> None:
    network = small_v3("v3-toy-metric", 50.0)
    path = tmp_path / "metric.onnx"
    export_depth_anything(network, "metric", SIZE, path)
    session = open_session(path, "cpu", 1)
    found = [session.infer(picture(), fx, (PATCHES,) * BLOCKS).depth for fx in (60.0, 120.0)]
    session.close()
    with torch.no_grad():
        image = torch.from_numpy(picture())[None].permute(0, 3, 1, 2) / 255.0
        expected = network(image, fx=torch.tensor([60.0]))[0, 0].numpy()
    np.testing.assert_allclose(found[0], expected, rtol=0.02)
    seen = found[0] < 50.0
    assert 0.1 < seen.mean() < 0.9
    np.testing.assert_allclose(found[1][seen], 2.0 * found[0][seen], rtol=1e-4)
    assert (found[0][~seen] == BEYOND * 50.0).all()
    assert load_manifest(path).depth_range_m == (0.1, 50.0)


def rooms(folder: Path) -> Path:
    """Pictures whose true depth is the network's, times a factor of each picture's own."""
    (folder / "frames").mkdir(parents=True)
    lines, network = [], small_v3()
    for number, own in enumerate(np.exp(np.linspace(-0.16, 0.16, 16))):
        stem = f"{folder}/frames/{number}"
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(f"{stem}.color.jpg", cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC))
        seen = cv2.cvtColor(cv2.imread(f"{stem}.color.jpg"), cv2.COLOR_BGR2RGB)
        depth = own * FACTOR * disparity_of(network, seen)
        cv2.imwrite(f"{stem}.depth.png", (1000.0 * depth.clip(0, 65.0)).astype(np.uint16))
        lines.append(f'{{"id": "{number}", "fx": 90.0, "truths": ["depth"]}}\n')
    (folder / "frames.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.usefixtures("without_standard_graph")
def test_the_command_takes_a_published_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved(small_v3(), tmp_path / "DA3-SMALL" / "model.safetensors")
    checkpoint.with_name("config.json").write_text(json.dumps({"model_name": "da3-small"}))
    command = ["adopt", str(checkpoint), "--out", str(tmp_path / "da3"), "--size", "112x84"]
    assert main(command) == 2
    assert "is relative by its tensors, and a relative depth has no" in capsys.readouterr().err
    assert main([*command, "--max-depth", "20"]) == 2
    assert "is relative by its tensors; take --max-depth METRES for" in capsys.readouterr().err
    assert not (tmp_path / "da3").exists()
    assert main([*command, "--depths", str(rooms(tmp_path / "rooms"))]) == 0
    printed = capsys.readouterr().out
    assert "not used: 3 tensors of its cameras and rays" in printed
    assert "* relative depth, fitted to 16 pictures of rooms rooms" in printed
    assert "(standard deviation of the logarithm 0.10)" in printed
    assert "scale and shift" not in printed
    model = tmp_path / "da3" / "model.onnx"
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    run = ["run", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main([*run, "--budget", "1", "--raw"]) == 0
    with np.load(tmp_path / "out" / "a.npz") as maps:
        color = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB)
        expected = FACTOR * disparity_of(small_v3(), color)
        assert abs(np.median(np.log(maps["depth"] / expected))) < 0.05


@pytest.mark.usefixtures("without_standard_graph")
def test_the_metric_one_needs_nothing_but_its_name(tmp_path: Path) -> None:
    checkpoint = saved(small_v3("v3-toy-metric", 1.0), tmp_path / "DA3METRIC-LARGE.safetensors")
    assert main(["adopt", str(checkpoint), "--out", str(tmp_path), "--size", "112x84"]) == 0
    assert load_manifest(checkpoint.with_suffix(".onnx")).depth_range_m == (0.1, 200.0)


def test_the_floor_alone_gives_metres_or_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved(small_v3(), tmp_path / "model.safetensors")
    command = ["adopt", str(checkpoint), "--out", str(tmp_path / "da3"), "--size", "112x84"]
    floor = ["--floor", str(rooms(tmp_path / "rooms"))]
    assert main([*command, *floor, "--camera-height", "1", "--camera-pitch", "15"]) == 2
    assert "rooms rooms: a floor is seen in 0 of 16 pictures" in capsys.readouterr().err
