"""`pag_ros build kernels`: a file of kernels, a table for people, JSON for programs.

They are compiled for real, but nothing runs them here.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec, launch
from pag_ros.kernels.gpu.store import kernels_path, load_kernels
from pag_ros.lab.commands import build_kernels
from pag_ros.lab.commands.build_kernels import programs_of
from pag_ros.lab.kernel_compiler.compiler import TARGETS
from pag_ros.runtime import shipped_models

pytest.importorskip("triton", reason="the GPU kernels are written in Triton")

SPECS = [StampSpec(), SelectSpec(5, 6), ConvSpec(5, 6, 16, 7, out_rows=True)]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of two kernels: which ones a network has is not this command's business."""
    monkeypatch.setattr(build_kernels, "programs_of", lambda _: SPECS)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    return path


def test_kernels_table_and_report(model: Path, tmp_path: Path, capsys):
    out, report = tmp_path / "out", tmp_path / "reports" / "kernels.json"
    arguments = ["--targets", "87", "80", "--out", str(out), "--json", str(report)]
    assert main(["build", "kernels", str(model), *arguments]) == 0
    printed = capsys.readouterr().out
    assert f"written: {out / 'model.kernels.zip'} (6 kernels" in printed
    assert all(spec.name in printed for spec in SPECS)
    rows = json.loads(report.read_text())["rows"]
    assert [(row["kernel"], row["target"]) for row in rows] == [
        (spec.name, target) for spec in SPECS for target in (80, 87)
    ]
    assert rows[-1] == {
        "kernel": SPECS[-1].name,
        "target": 87,
        "multiprocessors": 8,  # One launch suits all sizes of chip: the small one's.
        "registers": rows[-1]["registers"],
        "spills": 0,
        "shared_bytes": rows[-1]["shared_bytes"],
        "tensor_core": True,
    }
    assert set(load_kernels(out / "model.kernels.zip", SPECS, 87)) == {s.name for s in SPECS}


def test_a_kernel_that_sizes_of_chip_launch_otherwise_is_there_for_each(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    spec = ConvSpec(30, 40, 128, 128, out_rows=True)
    monkeypatch.setattr(build_kernels, "programs_of", lambda _: [spec])
    assert main(["build", "kernels", str(model), "--targets", "87"]) == 0
    printed = capsys.readouterr().out
    assert "(2 kernels" in printed
    assert re.search(rf"{spec.name} +\d+/\d+ T, \d+/\d+ T$", printed, re.MULTILINE)
    path = kernels_path(model)
    grids = [load_kernels(path, [spec], 87, size)[spec.name].grid for size in (8, 14, 16)]
    assert grids == [launch(spec, 87, size).grid for size in (8, 16, 16)]
    assert grids[0] != grids[1]


def test_the_file_lies_beside_the_model_and_json_may_be_printed(model: Path, capsys):
    assert main(["build", "kernels", str(model), "--targets", "80", "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 3
    assert (model.parent / "model.kernels.zip").is_file()


def test_a_model_that_is_not_there_is_named(tmp_path: Path, capsys):
    assert main(["build", "kernels", str(tmp_path / "no.onnx")]) == 2
    assert "no.onnx: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--targets", "72"], ["--targets"]])
def test_an_unknown_target_is_refused(arguments):
    with pytest.raises(SystemExit):
        main(["build", "kernels", "model.onnx", *arguments])


def test_the_shipped_model_needs_no_spills_anywhere(tmp_path: Path, capsys):
    """What the assembler says; it proves no number and no speed on a GPU."""
    pytest.importorskip("onnx")
    assert main(["build", "kernels", "--out", str(tmp_path), "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["target"] for row in rows} == {80, 86, 87, 89, 90, 110, 120}
    assert {row["spills"] for row in rows} == {0}
    assert max(row["shared_bytes"] for row in rows) <= 48 * 1024
    assert all(row["tensor_core"] == row["kernel"].startswith("pag_conv") for row in rows)
    assert [file.name for file in tmp_path.iterdir()] == ["pag_lite0_indoor.kernels.zip"]


@pytest.mark.parametrize("name", sorted(shipped_models()))
@pytest.mark.parametrize("target", TARGETS)
def test_a_shipped_model_comes_with_its_kernels(name: str, target: int) -> None:
    model = shipped_models()[name]
    specs = programs_of(model)
    kernels = load_kernels(kernels_path(model), specs, target)
    assert set(kernels) == {spec.name for spec in specs}
    for kernel in kernels.values():
        assert kernel.capability == target
        assert kernel.spills == 0


def test_a_transformer_needs_none_and_is_told_what_runs_it(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr(build_kernels, "is_transformer", lambda path: path == model)
    assert main(["build", "kernels", str(model)]) == 2
    assert "needs no GPU kernels; TensorRT runs model.standard.onnx" in capsys.readouterr().err
    assert not kernels_path(model).exists()
