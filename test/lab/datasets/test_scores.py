"""Datasets scored: classes by name, trivial guesses, sheets of pictures, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.lab.datasets import Sample
from pag_ros.lab.datasets.class_names import common_classes
from pag_ros.lab.datasets.pictures import chosen
from pag_ros.lab.datasets.trivial import constant, floor_and_wall
from pag_ros.manifest import NO_LABEL, LabelClass


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
