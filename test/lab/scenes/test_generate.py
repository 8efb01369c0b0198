"""Datasets are deterministic, resumable and complete on disk."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.errors import DatasetError, ParameterError
from pag_ros.lab.scenes import generate, render_dataset, render_walk
from pag_ros.lab.scenes import walk as walking
from pag_ros.lab.scenes.catalog import MeshLibrary
from pag_ros.lab.scenes.classes import CLASSES
from pag_ros.lab.scenes.generate import VIEWS_PER_SCENE, RenderAccount
from pag_ros.lab.scenes.walk import Walk, along_path
from pag_ros.lab.scenes.writer import DatasetWriter

FRAMES = VIEWS_PER_SCENE + 2


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(out: Path, furniture: Path, cache: Path, frames: int = FRAMES, seed: int = 5) -> Path:
    render_dataset(out, frames, furniture, size=(64, 48), seed=seed, workers=1, cache=cache)
    return out


@pytest.fixture(scope="module")
def dataset(furniture: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "rooms", furniture, cache)


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "frames").iterdir()}


def test_every_listed_frame_is_complete(dataset: Path) -> None:
    assert [line["id"] for line in lines(dataset)] == [f"{k:06d}" for k in range(FRAMES)]
    for line in lines(dataset):
        assert line["scene"] == int(str(line["id"])) // VIEWS_PER_SCENE
        assert line["fx"] == line["fy"]
        base = str(dataset / "frames" / str(line["id"]))
        color = cv2.imread(f"{base}.color.jpg")
        depth = cv2.imread(f"{base}.depth.png", cv2.IMREAD_UNCHANGED)
        normal = cv2.imread(f"{base}.normal.png")[..., ::-1]
        label = cv2.imread(f"{base}.label.png", cv2.IMREAD_UNCHANGED)
        assert color.shape == normal.shape == (48, 64, 3)
        assert (depth.dtype, label.dtype) == (np.uint16, np.uint8)
        assert label.max() < len(CLASSES)
        length = np.linalg.norm(normal / 127.5 - 1, axis=-1)[depth > 0]
        np.testing.assert_allclose(length, 1, atol=0.02)
    assert not list((dataset / "frames").glob(".*"))


def test_the_header_names_classes_licences_and_creators(dataset: Path) -> None:
    header = json.loads((dataset / "dataset.json").read_text())
    assert header["format"] == 1
    assert header["classes"] == list(CLASSES)
    assert header["generator"]["seed"] == 5
    assert header["furniture"] == [{"group": "Everyday", "licence": "CC0", "creators": ["José"]}]


def test_the_same_seed_gives_the_same_bytes(
    dataset: Path, furniture: Path, cache: Path, tmp_path: Path
) -> None:
    again = make(tmp_path / "again", furniture, cache)
    assert contents(again) == contents(dataset)
    other = make(tmp_path / "other", furniture, cache, frames=1, seed=6)
    name = "000000.color.jpg"
    assert contents(other)[name] != contents(dataset)[name]


def test_what_a_killed_run_left_is_removed(furniture: Path, cache: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "frames" / ".000000.depth.png.0123456789abcdef.part"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    make(tmp_path, furniture, cache, frames=1)
    assert not leftover.exists()


def test_a_frame_that_cannot_be_written_ends_the_run(
    furniture: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "frame")

    monkeypatch.setattr(generate, "write_frame", refuse)
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, furniture, cache, frames=2)
    assert not (tmp_path / "frames.jsonl").exists()


def test_the_account_tells_what_a_frame_costs() -> None:
    account = RenderAccount(total=50, drawn=40, elapsed_s=2.0, cpu_s=4.0, workers=2)
    assert account.line() == (
        "40 drawn, 20.0 a second by 2 processes, 100 ms of processor time each"
    )
    assert "by one process" in replace(account, workers=1).line()
    assert replace(account, workers=None).line() == "40 drawn, 20.0 a second"
    assert replace(account, drawn=0).line() == "nothing was missing"


def test_a_broken_off_run_is_continued(
    dataset: Path, furniture: Path, cache: Path, tmp_path: Path
) -> None:
    out = make(tmp_path / "short", furniture, cache, frames=6)
    index = out / "frames.jsonl"
    whole = index.read_text().splitlines(keepends=True)
    # killed while the last line was written
    index.write_text("".join(whole[:3]) + whole[3][:20])
    make(out, furniture, cache)
    assert sorted(str(line["id"]) for line in lines(out)) == [f"{k:06d}" for k in range(FRAMES)]
    assert contents(out) == contents(dataset)


def test_other_arguments_do_not_mix_into_a_dataset(
    furniture: Path, cache: Path, tmp_path: Path
) -> None:
    make(tmp_path, furniture, cache, frames=1)
    with pytest.raises(DatasetError, match="other arguments"):
        make(tmp_path, furniture, cache, frames=2, seed=9)


def test_splits_share_no_furniture(furniture: Path, cache: Path, tmp_path: Path) -> None:
    render_dataset(tmp_path, 1, furniture, size=(32, 24), split="test", workers=1, cache=cache)
    header = json.loads((tmp_path / "dataset.json").read_text())
    assert [entry["group"] for entry in header["furniture"]] == ["KatorLegaz"]
    with pytest.raises(DatasetError, match="hold-out"):
        render_dataset(tmp_path / "x", 1, furniture, split="test", hold_out=("Nobody",))


def test_a_walk_moves_steadily_and_carries_stamps(
    furniture: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walking, "SCENES_COMPARED", 1)
    walk = Walk(frames=12, speed=1.2)
    count = render_walk(tmp_path, furniture, (), walk, (32, 24), seed=1, cache=cache)
    assert count == 12
    stamps = [line["stamp"] for line in lines(tmp_path)]
    np.testing.assert_allclose(np.diff(stamps), 0.1)


def test_a_path_is_measured_along_its_length() -> None:
    path = np.stack([np.linspace(0, 2, 21), np.zeros(21)], 1)
    np.testing.assert_allclose(along_path(path, 0.55), [0.55, 0])
    np.testing.assert_allclose(along_path(path, 3.0), [3.0, 0])


def test_the_command_renders(furniture: Path, cache: Path, tmp_path: Path) -> None:
    arguments = f"data render --out {tmp_path} --frames 1 --size 32x24 --workers 1 --cache {cache}"
    assert main([*arguments.split(), "--furniture", str(furniture)]) == 0
    assert len(lines(tmp_path)) == 1


@pytest.mark.parametrize("text", ["320", "axb", "0x240", "320x-1"])
def test_bad_sizes_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "render", "--out", "x", "--furniture", "x", "--size", text])
    assert "WIDTHxHEIGHT" in capsys.readouterr().err


def test_two_renders_into_one_folder_are_refused(
    furniture: Path, cache: Path, tmp_path: Path
) -> None:
    make(tmp_path, furniture, cache, frames=1)
    description = json.loads((tmp_path / "dataset.json").read_text())
    with (
        DatasetWriter(tmp_path, description),
        pytest.raises(DatasetError, match="another process"),
    ):
        make(tmp_path, furniture, cache, frames=2)
    make(tmp_path, furniture, cache, frames=2)
    assert len(lines(tmp_path)) == 2


def test_a_render_that_ends_or_is_killed_lets_go_of_its_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from pag_ros.lab.scenes.writer import DatasetWriter\n"
        "with DatasetWriter(Path(sys.argv[1]), {}):\n"
        "    print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(DatasetError, match="another process"):
            DatasetWriter(tmp_path, {})
        process.kill()
    with DatasetWriter(tmp_path, {}) as ended:
        assert not ended.done
    DatasetWriter(tmp_path, {})


def test_a_dask_cluster_renders_the_same_frames(
    dataset: Path, furniture: Path, cache: Path, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        out = tmp_path / "rooms"
        done = render_dataset(
            out,
            FRAMES,
            furniture,
            size=(64, 48),
            seed=5,
            cache=cache,
            scheduler=cluster.scheduler_address,
        )
    assert done.total == FRAMES
    assert contents(out) == contents(dataset)


def test_a_missing_scheduler_is_named(furniture: Path, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ParameterError, match=r"no Dask scheduler answers there"):
        render_dataset(tmp_path, 1, furniture, cache=cache, scheduler="nonsense://127.0.0.1:1")


@pytest.mark.parametrize(
    ("name", "text"),
    [("frames.jsonl", "nothing\n"), ("frames.jsonl", "[1]\n"), ("dataset.json", "{")],
)
def test_a_damaged_index_or_header_is_named(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_text('{"id": "000000"}\n')
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
        DatasetWriter(tmp_path, {"generator": {}})


@pytest.mark.parametrize("make", [MeshLibrary, lambda out: DatasetWriter(out, {})])
def test_a_folder_that_cannot_be_made_is_named(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file/out: cannot be"):
        make(tmp_path / "file" / "out")


@pytest.mark.parametrize("option", ["--frames=0", "--frames=many", "--seed=-1", "--workers=0"])
def test_numbers_out_of_range_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "render", "--out", str(tmp_path), "--furniture", "x", option]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "is not a whole number of" in capsys.readouterr().err


def test_missing_textures_are_named(
    furniture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--furniture", str(furniture), "--textures", str(tmp_path / "none")]
    assert main(["data", "render", "--out", str(tmp_path / "rooms"), *folders]) == 2
    assert "none: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "rooms").exists()
