"""Datasets scored: classes by name, trivial guesses, sheets of pictures, the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import Sample
from pag_ros.lab.datasets.class_names import common_classes
from pag_ros.lab.datasets.pictures import chosen
from pag_ros.lab.datasets.rooms import RoomFrame, RoomPictures, read_frame, read_index
from pag_ros.lab.datasets.scores import score_dataset
from pag_ros.lab.datasets.trivial import constant, floor_and_wall
from pag_ros.manifest import NO_LABEL, LabelClass, load_manifest
from pag_ros.runtime import camera_scale, open_session
from pag_ros.runtime.floor_scale import FloorSighting, Mount, Sampled


def test_classes_are_matched_by_name() -> None:
    model = [LabelClass(name, (0, 0, 0)) for name in ("wall", "Night-Stand", "lamp")]
    common = common_classes(model, ["floor", "night stand", "wall"])
    assert common.names == ("wall", "night stand")
    assert common.of_model[:3].tolist() == [0, 1, 254]
    assert common.of_dataset[[0, 1, 2, NO_LABEL]].tolist() == [NO_LABEL, 1, 0, NO_LABEL]
    assert not common.same


def test_floor_and_wall_by_hand() -> None:
    sample = Sample(np.zeros((4, 2, 3), np.uint8), focal_px=1.0)
    # Rows are -1.5, -0.5, 0.5, 1.5 px below the horizon: floor at 1.4 / 0.5 and 1.4 / 1.5 m.
    assert floor_and_wall(sample, 2.0)[:, 0] == pytest.approx([2.0, 2.0, 2.0, 1.4 / 1.5])
    assert (constant(sample, 2.0) == 2.0).all()


def test_sheets_show_best_middling_and_worst() -> None:
    sheets = chosen([0.1, float("nan"), 0.9, 0.5, 0.7, 0.3], rows=1)
    assert sheets == {"best": [2], "median": [3], "worst": [0]}
    assert chosen([float("nan")] * 5, rows=2) == {"some": [0, 4]}


def test_command_scores_trivial_guesses_and_writes_sheets(
    rooms: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["b", "other"]}))
    out = tmp_path / "scores.json"
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--budgets", "1"]
    extra = ["--trivial", "--pictures", str(tmp_path / "sheets"), "--json", str(out)]
    assert main([*command, *extra]) == 0
    (scores,) = json.loads(out.read_text()).values()
    # Three quarters and more are at 3 m or within 1.25 of it, and the median is 3 m.
    assert 0.5 < scores["trivial"]["constant"]["depth"]["delta1"] < 1.0
    assert set(scores["trivial"]) == {"constant", "floor and wall"}
    assert "1 classes of equal name" in scores["messages"][0]
    assert scores["samples"] == 6
    assert len(list((tmp_path / "sheets").glob("*.jpg"))) == 3


def test_the_report_holds_the_figures_the_guesses_and_the_pictures(
    rooms: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, numbers = tmp_path / "out", tmp_path / "numbers.json"
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--trivial"]
    command += ["--budgets", "1", "0.5", "--out", str(out), "--json", str(numbers)]
    assert main(command) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    (scores,) = json.loads(numbers.read_text()).values()
    page = "".join(line.strip() for line in (out / "report.html").read_text("utf-8").splitlines())
    columns = ["budget 1.00", "budget 0.50", "constant", "floor and wall"]
    rows = [*scores["budgets"].values(), *scores["trivial"].values()]
    assert "".join(f"<th>{name}</th>" for name in columns) in page
    assert "".join(f"<td>{100 * row['depth']['delta1']:.1f} %</td>" for row in rows) in page
    assert f"<td>{scores['budgets']['0.50']['normals']['median']:.1f}°</td>" in page
    assert "Scores against the dataset's ground truth" in page
    assert "Accuracy against budget" in page
    assert "over time" not in page, "samples follow nobody's clock"
    assert page.count('class="card sample"') == 6
    assert page.count('alt="depth"') == 3 * 6  # at two budgets, and the truth
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert [run["name"] for run in report["runs"]] == columns
    assert [run["scores"] for run in report["runs"]] == rows
    assert report["counters"] == {"samples in the dataset": 6, "samples scored": 6}
    assert report["classes"] == [c.name for c in load_manifest(tiny_model).classes]


def test_the_report_of_a_part_of_the_classes_shows_that_part(
    rooms: Path, tiny_model: Path, tmp_path: Path
) -> None:
    name = load_manifest(tiny_model).classes[1].name
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["other", name]}))
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--limit", "2"]
    assert main([*command, "--budgets", "1", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["classes"] == [name]
    assert "1 classes of equal name" in report["about"]["note"]
    assert report["counters"]["samples scored"] == len(report["runs"][0]["frames"]) == 2
    (run,) = report["runs"]
    hits = [_is_predicted(1, frame, tiny_model) for frame in read_index(rooms)[:2]]
    # Label 1 alone has a class; label 0 is none of the model's.
    assert run["scores"]["segmentation"]["pixel_accuracy"] == pytest.approx(np.mean(hits))


def _is_predicted(label: int, frame: RoomFrame, model: Path) -> np.ndarray:
    """Whether the model gives this label, at each pixel that has it."""
    sample, session = read_frame(frame), open_session(model, "cpu")
    keep = session.manifest.keep_for(1.0)
    predicted = session.infer(sample.color, sample.focal_px, keep).labels
    session.close()
    return predicted[sample.labels == label] == label


def test_guesses_of_a_dataset_without_depth_are_left_out(tiny_model: Path) -> None:
    class Unlabelled:
        name, classes, protocol = "plain", (), DepthProtocol()

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return Sample(np.zeros((48, 64, 3), np.uint8), 60.0)

    session = open_session(tiny_model, "cpu")
    found = score_dataset(Unlabelled(), session, (1.0,), trivial=True)
    session.close()
    assert found.trivial == {}
    assert found.budgets == {1.0: {}}
    assert np.isnan(found.delta1).all()


def test_several_datasets_have_a_report_each(
    rooms: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinect = tmp_path / "chess"
    kinect.mkdir()
    cv2.imwrite(str(kinect / "frame-000000.depth.png"), np.full((480, 640), 2000, np.uint16))
    cv2.imwrite(str(kinect / "frame-000000.color.jpg"), np.zeros((480, 640, 3), np.uint8))
    command = ["score", "--dataset", str(rooms), f"seven-scenes:{kinect}", "--limit", "1"]
    command += ["--model", str(tiny_model), "--budgets", "1", "--json", "-"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    folders = sorted(path.parent.name for path in (tmp_path / "out").glob("*/report.html"))
    assert folders == ["rooms_rooms", "seven-scenes_chess_test"]


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    command = ["score", "--dataset", str(rooms), "--model", "nothing.onnx"]
    assert main([*command, "--out", str(tmp_path / "file" / "out")]) == 2
    assert "report.html: cannot be written" in capsys.readouterr().err


def test_a_dataset_without_common_classes_is_scored_without_labels(
    rooms: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["x", "y"]}))
    command = ["score", "--dataset", f"rooms:{rooms}", "--model", str(tiny_model)]
    assert main([*command, "--budgets", "1", "--json", "-"]) == 0
    captured = capsys.readouterr()
    (scores,) = json.loads(captured.out).values()
    assert "segmentation" not in scores["budgets"]["1.00"]
    assert "segmentation is not scored" in captured.err


def test_what_was_computed_is_told_in_both_modes(
    rooms: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--budgets", "0.5"]
    density = {}
    for mode in ("fixed", "adaptive"):
        assert main([*command, "--mode", mode, "--json", "-"]) == 0
        (scores,) = json.loads(capsys.readouterr().out).values()
        density[mode] = scores["density"]["0.50"]
    assert 0.0 < density["fixed"] < 1.0
    assert density["adaptive"] != density["fixed"]
    assert main([*command, "--mode", "adaptive", "--record"]) == 2
    assert "fixed budgets' scores" in capsys.readouterr().err


def test_the_cameras_height_scales_every_sample(
    rooms: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[Sampled] = []
    seen = FloorSighting(2.0, pixels=1000, share=0.3, agreement=1.0, spread=0.0)

    def see(sampled: Sampled, mount: Mount) -> FloorSighting:
        looked_at.append(sampled)
        return seen

    monkeypatch.setattr(camera_scale, "sight_floor", see)
    session = open_session(tiny_model, "cpu", threads=1)
    try:
        found = [
            score_dataset(RoomPictures([rooms]), session, (1.0,), mount=mount)
            for mount in (None, Mount.pitched(1.2, 20.0))
        ]
    finally:
        session.close()
    own, scaled = (scores.budgets[1.0]["depth"]["AbsRel"] for scores in found)
    assert own != pytest.approx(scaled, rel=0.1)
    about = found[1].evaluation.about["scale of the depth"]
    assert about.startswith("by the floor, seen in 6 of 6 frames: x2.00 in the median")
    middle = looked_at[0].rays.reshape(48, 64, 3).mean(axis=(0, 1))
    assert middle == pytest.approx((0.0, 0.0, 1.0), abs=1e-6)
    assert looked_at[0].rays[-1, 0] == pytest.approx(31.5 / 52.0)


def test_what_a_manifest_keeps_are_the_networks_own_scores(
    rooms: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--record"]
    assert main([*command, "--camera-height", "1"]) == 2
    assert "leave --camera-height out" in capsys.readouterr().err
