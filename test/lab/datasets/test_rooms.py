"""Rendered rooms read back, and a model scored on them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.errors import DatasetError, ParameterError
from pag_ros.lab.datasets.rooms import RoomPictures, read_frame, read_index
from pag_ros.lab.datasets.scores import score_dataset
from pag_ros.manifest import NO_LABEL, load_manifest
from pag_ros.runtime import open_session
from pag_ros.runtime.network_size import resized


def test_a_frame_is_decoded_to_metres_unit_normals_and_rgb(rooms: Path) -> None:
    sample = read_frame(read_index(rooms)[2])
    assert sample.depth[10, 10] == 3.0
    assert np.isnan(sample.depth[0, 0])
    assert sample.normals[10, 10] == pytest.approx([0.6, 0.0, -0.8], abs=0.01)
    assert np.isnan(sample.normals[0, 0]).all()
    assert sample.labels[0, 0] == NO_LABEL
    assert sample.color[10, 10, 0] > 200  # red comes first
    assert sample.focal_px == 54.0


def test_a_line_cut_off_in_the_index_is_left_out(rooms: Path) -> None:
    with (rooms / "frames.jsonl").open("a") as index:
        index.write('{"id": "0000')
    assert len(read_index(rooms)) == 6


def test_missing_or_damaged_data_is_named(rooms: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        read_index(rooms / "nowhere")
    (rooms / "frames" / "000001.depth.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"000001\.depth\.png"):
        read_frame(read_index(rooms)[1])


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        ("[1]", "line 7: frame: expected a mapping, not"),
        ('{"id": "000000"}', "line 7: it lacks 'fx'; expected"),
        ('{"id": "000000", "fx": NaN}', "line 7: fx: expected a number .*, not nan"),
        ('{"id": "000000", "fx": -5}', "line 7: fx: expected a number .*, not -5"),
    ],
)
def test_a_damaged_line_of_the_index_is_named(line: str, culprit: str, rooms: Path) -> None:
    with (rooms / "frames.jsonl").open("a") as index:
        index.write(line + "\n")
    with pytest.raises(DatasetError, match=culprit):
        read_index(rooms)


def test_an_index_that_is_no_text_is_named(rooms: Path) -> None:
    (rooms / "frames.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DatasetError, match=r"frames\.jsonl: not a text file"):
        read_index(rooms)


def test_a_picture_cut_off_or_huge_is_not_decoded(rooms: Path) -> None:
    color, depth = (rooms / "frames" / f"000001.{name}" for name in ("color.jpg", "depth.png"))
    whole = depth.read_bytes()
    header = b"IHDR" + struct.pack(">II", 60000, 60000) + whole[24:29]
    checksum = struct.pack(">I", zlib.crc32(header))
    depth.write_bytes(whole[:12] + header + checksum + whole[33:])
    with pytest.raises(DatasetError, match=r"000001\.depth\.png.*60000x60000"):
        read_frame(read_index(rooms)[1])
    color.write_bytes(color.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"000001\.color\.jpg.*cut off"):
        read_frame(read_index(rooms)[1])


def test_a_file_of_scores_that_cannot_be_written_is_said_before_scoring(
    rooms: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--json"]
    assert main([*arguments, str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == f"pag_ros: error: {tmp_path}: is a folder; give the name of a file\n"


def test_a_frame_of_mixed_sizes_is_refused(rooms: Path) -> None:
    cv2.imwrite(str(rooms / "frames" / "000001.label.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(DatasetError, match="differ in size"):
        read_frame(read_index(rooms)[1])


def test_scores_are_those_of_the_predictions(rooms: Path, tiny_model: Path) -> None:
    frame = read_index(rooms)[0]
    session = open_session(tiny_model, "cpu")
    scores = score_dataset(RoomPictures([rooms]), session, (1.0, 0.5), limit=1).budgets
    sample = read_frame(frame)
    keep = session.manifest.keep_for(0.5)
    predicted = session.infer(sample.color, sample.focal_px, keep)
    session.close()
    known = sample.labels != NO_LABEL
    expected = float((predicted.labels == sample.labels)[known].mean())
    assert scores[0.5]["segmentation"]["pixel_accuracy"] == pytest.approx(expected)
    assert set(scores) == {1.0, 0.5}


def test_budget_out_of_range_is_refused(rooms: Path, tiny_model: Path) -> None:
    session = open_session(tiny_model, "cpu")
    with pytest.raises(ParameterError, match="budgets"):
        score_dataset(RoomPictures([rooms]), session, (0.0,))
    session.close()


def test_command_records_the_main_scores_in_the_manifest(
    rooms: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(model), "--limit", "2"]
    assert main([*command, "--budgets", "1", "0.5", "--json", "-", "--record"]) == 0
    printed = json.loads(capsys.readouterr().out)["rooms rooms"]["budgets"]
    recorded = load_manifest(model).scores
    assert set(recorded) == set(printed) == {"1.00", "0.50"}
    for budget, row in recorded.items():
        assert row["depth delta1"] == pytest.approx(printed[budget]["depth"]["delta1"], abs=1e-4)


@pytest.mark.parametrize(("name", "begins"), [("a.jpg", b"\xff\xd8"), ("a.png", b"\x89PNG")])
def test_a_sheet_shows_the_samples_with_their_truth(
    name: str, begins: bytes, rooms: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / name
    assert main(["data", "sheet", str(rooms), "--rows", "3", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(begins)
    sheet = cv2.imread(str(out))
    assert sheet is not None
    gap, line, width, columns = 6, 20, 320, 4
    assert sheet.shape[1] == columns * (width + gap) + gap
    height = (sheet.shape[0] - gap) // 3 - line - gap
    top = sheet[gap + line : gap + line + height, gap : gap + width, ::-1]
    color = cv2.resize(read_frame(read_index(rooms)[0]).color, (width, height))
    assert np.abs(top.astype(float) - color).mean() < 12.0  # JPEG


def test_a_sheet_that_cannot_be_written_is_refused(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "sheet.jpg"
    assert main(["data", "sheet", str(rooms), "--out", str(out)]) == 2
    assert "sheet.jpg" in capsys.readouterr().err
    assert main(["data", "sheet", str(rooms), "--out", str(tmp_path / "sheet.gif")]) == 2
    assert "sheet.gif: pictures are written as .jpg or .png" in capsys.readouterr().err
    assert main(["data", "sheet", str(rooms), "--rows", "0", "--out", "x.jpg"]) == 2


def test_scores_at_another_size_stand_beside_those_of_the_models_own(
    rooms: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(model), "--limit", "2"]
    command += ["--budgets", "1", "--record", "--json", "-"]
    assert main(command) == 0
    whole = load_manifest(model)
    capsys.readouterr()
    assert main([*command, "--size", "32x24"]) == 0
    printed = json.loads(capsys.readouterr().out)["rooms rooms"]["budgets"]["1.00"]
    both = load_manifest(model)
    assert both.scores == whole.scores
    assert (both.width, both.blocks) == (whole.width, whole.blocks)
    assert both.scores_at.keys() == {"32x24"}
    assert both.scores_at["32x24"].keys() == {"1.00"}
    recorded = both.scores_at["32x24"]["1.00"]
    assert recorded["depth delta1"] == pytest.approx(printed["depth"]["delta1"], abs=1e-4)
    assert recorded != both.scores["1.00"]
    assert resized(both, (32, 24)).scores == both.scores_at["32x24"]


def test_scores_in_a_precision_stand_beside_those_in_float32(
    rooms: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a processor without bfloat16 OpenVINO computes the same, slowly."""
    monkeypatch.setattr(
        "pag_ros.runtime.openvino.session.native_precisions", lambda: ["bf16", "int8"]
    )
    command = ["score", "--dataset", str(rooms), "--model", str(model), "--limit", "2"]
    command += ["--device", "cpu", "--budgets", "1", "--record"]
    assert main([*command, "--precision", "bf16"]) == 0
    both = load_manifest(model)
    assert main(command) == 0
    assert load_manifest(model) == both, "the same scores in float32 leave the others"
    whole = both.scores
    assert both.scores_in.keys() == {"bf16"}
    assert both.scores_in["bf16"]["1.00"].keys() == whole["1.00"].keys()
    assert both.scores_in["bf16"] != whole
    for wrong in (["--precision", "auto"], ["--precision", "bf16", "--size", "32x24"]):
        capsys.readouterr()
        assert main([*command, *wrong]) == 2
        assert "in a precision by its name" in capsys.readouterr().err
    assert load_manifest(model) == both
    assert main([*command, "--limit", "1"]) == 0
    said = capsys.readouterr().err
    assert "dropped from the manifest: scores in bf16" in said
    assert load_manifest(model).scores_in == {}


def test_scores_of_a_gpu_are_not_recorded_as_a_precision_of_the_cpu(
    rooms: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The CPU's session stands for an engine's."""
    session = open_session(tiny_model, "cpu", 1)
    session.device = "gpu"
    monkeypatch.setattr("pag_ros.runtime._open_gpu_if_usable", lambda *_: session)
    command = ["score", "--dataset", str(rooms), "--model", str(tiny_model), "--record"]
    assert main([*command, "--precision", "bf16"]) == 2
    assert "in a precision of --device cpu" in capsys.readouterr().err
    assert load_manifest(tiny_model).scores == {}
