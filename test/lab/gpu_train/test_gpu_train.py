"""What is carried to a borrowed GPU, and what is done with it there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("embreex")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.lab.datasets.rooms import read_frame, read_index  # noqa: E402
from pag_ros.lab.gpu_train import packing  # noqa: E402
from pag_ros.lab.gpu_train.main import main  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.scenes.catalog import MeshLibrary, read_catalogue  # noqa: E402
from pag_ros.lab.training.checkpoint import load_weights, save_weights  # noqa: E402

from ..scenes.conftest import furniture  # noqa: E402, F401

CONFIG = """
network: {heads: [depth, normals], blocks: 2, channels: 16}
phases:
  - size: [64, 48]
    batch: 4
    iterations: 1
    learning_rate: 1.0e-3
    final_learning_rate: 1.0e-4
    encoder_rate: 0.3
minutes: 5
resident: true
half: true
recalibrate: 1
validation_frames: 2
workers: 0
"""


@pytest.fixture
def material(furniture: Path, tmp_path: Path) -> Path:  # noqa: F811
    out = tmp_path / "material"
    packing.pack(furniture, (), tmp_path / "cache", out, ("KatorLegaz",))
    return out


def test_meshes_come_back_as_they_look(material: Path, furniture: Path, tmp_path: Path) -> None:  # noqa: F811
    assert packing.unpack(material, tmp_path / "there", workers=1) > 5
    before, after = MeshLibrary(tmp_path / "cache"), MeshLibrary(tmp_path / "there")
    models = {model.name: model for model in read_catalogue(furniture / "Everyday.sh3f")}
    carried = {m.name: m for m in read_catalogue(material / packing.FURNITURE / "Everyday.sh3f")}
    assert carried.keys() == models.keys()
    for name, model in carried.items():
        assert after.path(model).exists(), name
        was, now = before.mesh(models[name]), after.mesh(model)
        np.testing.assert_allclose(now.vertices, was.vertices, atol=2e-3)
        np.testing.assert_array_equal(now.faces, was.faces)
        np.testing.assert_array_equal(now.material, was.material)
        np.testing.assert_allclose(now.uv, was.uv, atol=1e-3)
        np.testing.assert_allclose(now.normals, was.normals, atol=2e-3)
    printed, red = after.mesh(carried["Table"]).materials
    assert printed.texture is not None
    assert red.texture is None
    assert red.color == pytest.approx(before.mesh(models["Table"]).materials[1].color, abs=1e-3)
    assert red.gloss > 0


def test_what_is_held_out_stays_at_home(material: Path) -> None:
    assert [path.name for path in (material / packing.FURNITURE).iterdir()] == ["Everyday.sh3f"]
    with zipfile.ZipFile(material / packing.FURNITURE / "Everyday.sh3f") as package:
        sizes = {info.filename: info.file_size for info in package.infolist()}
    assert sizes.pop("PluginFurnitureCatalog.properties") > 100
    assert sizes == {"test/cube/cube.obj": 0}


def test_a_folder_without_furniture_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no \.sh3f furniture catalogue to train on below"):
        packing.pack(tmp_path, (), tmp_path / "cache", tmp_path / "out", ())


def test_labelled_pictures_shrink_with_their_labels(tmp_path: Path) -> None:
    source = tmp_path / "labelled"
    (source / "frames").mkdir(parents=True)
    color = np.zeros((600, 900, 3), np.uint8)
    color[:, 450:] = 255
    labels = np.repeat([[0, 5]], 450, 1).repeat(600, 0).astype(np.uint8)
    second = np.zeros((600, 900, 3), np.uint8)
    second[..., 1], second[..., 2] = 77, 3  # BGR: share, class
    cv2.imwrite(str(source / "frames/a.color.jpg"), color)
    cv2.imwrite(str(source / "frames/a.label.png"), labels)
    cv2.imwrite(str(source / "frames/a.second.png"), second)
    header = {"format": 1, "classes": ["a", "b", "c", "d", "e", "f"], "exact": False}
    (source / "dataset.json").write_text(json.dumps(header))
    line = {"id": "a", "fx": 810.0, "truths": ["labels", "runner_up"]}
    (source / "frames.jsonl").write_text(json.dumps(line) + "\n")
    out = tmp_path / "small"
    assert packing.pack_pictures(source, out) == packing.size_of(out)
    (frame,) = read_index(out)
    before, after = read_frame(read_index(source)[0]), read_frame(frame)
    assert after.color.shape == (299, 448, 3)
    assert after.focal_px == pytest.approx(810.0 * 448 / 900)
    assert after.labels[150, 100] == before.labels[300, 200] == 0
    assert after.labels[150, 400] == 5
    assert after.depth is None
    assert tuple(after.runner_up[100, 100]) == (3, 64)
    assert tuple(before.runner_up[100, 100]) == (3, 77)


def test_from_packing_to_weights(furniture: Path, tmp_path: Path, rooms: Path) -> None:  # noqa: F811
    packed, run = tmp_path / "packed", tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    start = tmp_path / "start.safetensors"
    network = NetworkConfig(heads=("depth", "normals"), blocks=2, channels=16)
    save_weights(build_network(network), start)
    assert main(["pack", "--furniture", str(furniture), "--out", str(packed)]) == 0
    rendered = tmp_path / "rendered"
    render = ["render", "--material", str(packed / "material"), "--out", str(rendered)]
    assert main([*render, "--workers", "1", "--frames", "4", "--seed", "3"]) == 0
    assert len(read_index(rendered)) == 4
    train = ["train", "--config", str(config), "--data", str(rendered), "--validation", str(rooms)]
    train += ["--initialize", str(start), "--minutes", "0.02", "--run-folder", str(run)]
    assert main([*train, "--out", str(tmp_path / "back")]) == 0
    back = tmp_path / "back"
    assert {p.name for p in back.iterdir()} == {
        "average.safetensors",
        "network.safetensors",
        "log.jsonl",
    }
    assert (back / "network.safetensors").stat().st_size < 0.6 * start.stat().st_size
    learned, began = load_weights(back / "network.safetensors"), load_weights(start)
    moved = [
        not torch.equal(a, b) for a, b in zip(learned.parameters(), began.parameters(), strict=True)
    ]
    assert any(moved)


def test_a_bad_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "--furniture", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("gpu_train: error: no .sh3f furniture catalogue")
