"""A model of ours teaches its depth, at its whole budget and as far as it trusts itself."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.errors import ParameterError
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.teachers import label_pictures, parse_teacher
from pag_ros.lab.teachers.own_model import OwnModel
from pag_ros.manifest import load_manifest
from pag_ros.runtime import open_session

SIZE = WIDTH, HEIGHT = 112, 84
FOCAL_PX = 90.0
PATCHES = 8 * 6


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small transformer with random weights."""
    pytest.importorskip("torch")
    from small_transformer import small_transformer

    from pag_ros.lab.transformers.adopt import export_depth_anything

    path = tmp_path_factory.mktemp("adopted") / "small.onnx"
    export_depth_anything(small_transformer(), "small", SIZE, path)
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A picture without truth, in the layout of rooms."""
    folder = tmp_path / "frames"
    (folder / "frames").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    cv2.imwrite(str(folder / "frames" / "a.color.jpg"), noise)
    line = {"id": "a", "fx": FOCAL_PX, "truths": []}
    (folder / "frames.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def test_an_adopted_transformer_labels_pictures(
    adopted: Path, frames: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "labelled"
    command = ["data", "label", str(frames), "--out", str(out), "--model", str(tiny_model)]
    assert main([*command, "--teacher", f"depth:{adopted}"]) == 0
    assert "depth by small.onnx: 1" in capsys.readouterr().out
    (taught,) = RoomPictures([out])
    (picture,) = RoomPictures([frames])
    with closing(open_session(adopted, "cpu", 1)) as session:
        whole = session.infer(picture.color, FOCAL_PX, (PATCHES,) * 8).depth
    assert whole.std() > 0.1
    known = np.isfinite(taught.depth)
    assert known.all()
    np.testing.assert_allclose(taught.depth, whole, atol=2e-3)  # files have millimetres


def test_what_it_does_not_trust_is_unknown(tiny_model: Path, frames: Path) -> None:
    (picture,) = RoomPictures([frames])
    nearest_m, farthest_m = load_manifest(tiny_model).depth_range_m
    with closing(OwnModel(parse_teacher(f"depth:{tiny_model}"))) as teacher:
        depth = teacher.depth(picture.color, FOCAL_PX)
        farther = teacher.depth(picture.color, 30.0 * FOCAL_PX)  # depth grows with it
    assert depth.shape == (HEIGHT, WIDTH)
    known = depth[np.isfinite(depth)]
    assert known.size
    assert nearest_m <= known.min() <= known.max() <= farthest_m
    assert np.isfinite(farther).sum() < known.size


def test_it_teaches_depth_alone(tiny_model: Path) -> None:
    with pytest.raises(ParameterError, match=r"in metres: depth:.*tiny\.onnx"):
        OwnModel(parse_teacher(f"relative-depth:{tiny_model}"))


def test_its_labels_are_not_asked_for(model: Path, frames: Path) -> None:
    model.with_name(f"{model.name}.yaml").write_text("classes: {a: [0]}")
    teachers = [parse_teacher(f"labels:{model}")]
    with (
        closing(open_session(model, "cpu", 1)) as session,
        pytest.raises(ParameterError, match=r"in metres: depth:.*tiny\.onnx"),
    ):
        label_pictures(frames, teachers, session)


def test_an_adopted_transformer_is_not_tuned_and_it_is_said_what_is(
    adopted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(["tune", str(tmp_path), "--out", str(out), "--model", str(adopted)]) == 2
    said = capsys.readouterr().err
    assert "an adopted transformer" in said
    assert "`pag_ros adopt CHECKPOINT --recording BAG`" in said
    assert f"--teacher depth:{adopted}" in said
    assert not out.exists()
