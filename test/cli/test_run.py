"""`pag_ros run`: pictures in, pictures and numbers out, one line for everything that goes wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.errors import BackendError
from pag_ros.runtime import camera_scale
from pag_ros.runtime.floor_scale import FloorSighting


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "a.png"), rng.integers(0, 256, (60, 80, 3), np.uint8))
    cv2.imwrite(str(folder / "a.jpg"), rng.integers(0, 256, (48, 64, 3), np.uint8))
    cv2.imwrite(str(folder / "grey.png"), rng.integers(0, 256, (30, 30), np.uint8))
    (folder / "notes.txt").write_text("not a picture, and not asked for")
    return folder


def run(source: Path, model: Path, *options: object) -> tuple[int, Path]:
    out = source.parent / "out"
    arguments = ["run", source, "--out", out, "--model", model, "--device", "cpu", *options]
    return main([str(argument) for argument in arguments]), out


def test_every_picture_gives_a_picture(folder, tiny_model, capsys):
    code, out = run(folder, tiny_model)
    assert code == 0
    assert sorted(p.name for p in out.iterdir()) == ["a_jpg.jpg", "a_png.jpg", "grey.jpg"]
    assert cv2.imread(str(out / "grey.jpg")) is not None
    printed = capsys.readouterr()
    assert "3 pictures" in printed.out
    assert printed.err.count("60 degrees") == 1


def test_raw_writes_the_numbers_at_the_pictures_size(folder, tiny_model):
    code, out = run(folder / "a.png", tiny_model, "--raw", "--budget", 0.5)
    assert code == 0
    with np.load(out / "a.npz", allow_pickle=False) as data:
        assert sorted(data) == ["computed", "confidence", "depth", "labels", "normals"]
        assert data["depth"].shape == (60, 80)
        assert data["depth"].dtype == np.float32
        assert data["normals"].shape == (60, 80, 3)
        assert data["labels"].dtype == np.uint8
        assert data["computed"].max() <= 2


def test_another_size_sees_the_same_picture(folder, tiny_model, capsys):
    code, out = run(folder / "a.png", tiny_model, "--raw", "--size", "96x72")
    assert code == 0
    with np.load(out / "a.npz") as data:
        assert data["depth"].shape == (60, 80)
    assert run(folder / "a.png", tiny_model, "--size", "96x70")[0] == 2
    assert "near are 96x64 and 96x72" in capsys.readouterr().err


def test_intrinsics_scale_the_depth_and_silence_the_guess(folder, tiny_model, capsys):
    depth = []
    for focal in (50, 100):
        _, out = run(folder / "a.png", tiny_model, "--raw", "--intrinsics", focal, focal, 40, 30)
        with np.load(out / "a.npz") as data:
            depth.append(data["depth"])
    np.testing.assert_allclose(depth[1], 2 * depth[0], rtol=1e-4)
    assert "guess" not in capsys.readouterr().err


def test_an_unreadable_picture_is_named_and_the_others_go_on(folder, tiny_model, capsys):
    (folder / "broken.png").write_bytes(b"\x89PNG not really")
    (folder / "empty.jpg").touch()
    code, out = run(folder, tiny_model)
    assert code == 1
    assert len(list(out.iterdir())) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == 2
    assert "broken.png" in lines[0]
    assert "empty.jpg" in lines[1]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "1.5"], "budget must lie in 0..1"),
        (["--budget", "nan"], "budget must lie in 0..1"),
        (["--intrinsics", "0", "1", "1", "1"], "--intrinsics must be"),
        (["--model", "missing.onnx"], "missing.onnx: no such file"),
        (["--model", "unheard_of"], "no model named 'unheard_of'"),
    ],
)
def test_a_wrong_option_is_one_line(folder, tiny_model, capsys, options, told):
    code, _ = run(folder, tiny_model, *options)
    assert_one_error(code, capsys, told)


def test_a_device_that_is_not_there_is_one_line(folder, tiny_model, capsys, monkeypatch):
    def no_gpu():
        raise BackendError("the NVIDIA driver sees no GPU")

    monkeypatch.setattr("pag_ros.runtime.tensorrt.requirements.require_gpu", no_gpu)
    code, _ = run(folder, tiny_model, "--device", "tensorrt")
    assert_one_error(code, capsys, "sees no GPU")


def test_nothing_to_read_is_one_line(folder, tiny_model, capsys):
    assert_one_error(run(folder / "nowhere", tiny_model)[0], capsys, "no such picture or folder")
    empty = folder / "empty"
    empty.mkdir()
    assert_one_error(run(empty, tiny_model)[0], capsys, "no pictures in it")


def test_nothing_readable_is_an_error(folder, tiny_model, capsys):
    code, _ = run(folder / "notes.txt", tiny_model)
    assert code == 2
    assert "none of 1 pictures could be read" in capsys.readouterr().err.splitlines()[-1]


def test_an_output_folder_that_cannot_be_made_is_one_line(folder, tiny_model, capsys):
    (folder.parent / "out").write_text("a file in the way")
    assert_one_error(run(folder, tiny_model)[0], capsys, "--out")


def test_pictures_are_never_overwritten(folder, tiny_model, capsys):
    before = (folder / "a.jpg").read_bytes()
    (folder / "a.png").unlink()
    arguments = ["run", folder, "--out", folder, "--model", tiny_model, "--device", "cpu"]
    assert_one_error(main([str(a) for a in arguments]), capsys, "would overwrite")
    assert (folder / "a.jpg").read_bytes() == before


def test_an_output_that_cannot_be_written_is_one_line_and_leaves_no_half_file(
    folder, tiny_model, capsys
):
    out = folder / "out"  # `run` writes beside its source
    (out / "grey.jpg").mkdir(parents=True)
    code, _ = run(folder / "grey.png", tiny_model, "--intrinsics", 50, 50, 15, 15)
    assert code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("pag_ros: error: --out")
    assert "grey.jpg: cannot be written (Is a directory)" in line
    assert [path.name for path in out.iterdir()] == ["grey.jpg"]


def test_a_picture_too_large_for_the_memory_is_named_and_skipped(
    folder, tiny_model, capsys, monkeypatch
):
    monkeypatch.setattr("pag_ros.image.compressed.MAX_PIXELS", 60 * 80 - 1)
    code, out = run(folder, tiny_model)
    assert code == 1
    assert "a.png: compressed image of 80x60; expected 1 to 4799 pixels" in capsys.readouterr().err
    assert sorted(p.name for p in out.iterdir()) == ["a_jpg.jpg", "grey.jpg"]


@pytest.mark.parametrize("size", [(300, 30_000), (30_000, 20), (1, 1)])
def test_a_picture_of_any_shape_is_shown(size, folder, tiny_model):
    cv2.imwrite(str(folder / "odd.png"), np.full(size, 90, np.uint8))
    code, out = run(folder / "odd.png", tiny_model, "--raw")
    assert code == 0
    shown = cv2.imread(str(out / "odd.jpg"))
    assert max(shown.shape) < 3.3 * 2048
    with np.load(out / "odd.npz") as data:
        assert data["depth"].shape == size


def assert_one_error(code: int, capsys, told: str) -> None:
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pag_ros: error: ")
    assert told in line


def test_the_cameras_height_scales_the_depth_of_every_picture(
    folder, tiny_model, capsys, monkeypatch
):
    depth = []
    seen = FloorSighting(1.5, pixels=1000, share=0.3, agreement=1.0, spread=0.0)
    monkeypatch.setattr(camera_scale, "sight_floor", lambda sampled, mount: seen)
    camera = ("--raw", "--intrinsics", 60, 60, 40, 30)
    for options in ((), ("--camera-height", 1.2, "--camera-pitch", 20)):
        code, out = run(folder / "a.png", tiny_model, *camera, *options)
        assert code == 0
        with np.load(out / "a.npz") as data:
            depth.append(data["depth"])
    np.testing.assert_allclose(depth[1], 1.5 * depth[0], rtol=1e-5)
    assert run(folder / "a.png", tiny_model, "--camera-height", 1.2)[0] == 2
    assert "--camera-height needs --intrinsics" in capsys.readouterr().err
