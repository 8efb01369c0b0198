"""Curves of a training run from its log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.errors import DatasetError
from pag_ros.lab.training.curves import read_curves, write_curves

ROWS = [
    {"iteration": 2, "train": {"depth": 2.0, "seconds": 0.1}},
    {"iteration": 2, "validation": {"1.00": {"depth": 1.5, "delta1": 0.4}}},
    {"iteration": 4, "train": {"depth": 1.0, "seconds": 0.1}},
    {"iteration": 4, "recalibrated": True, "validation": {"1.00": {"depth": 0.9, "delta1": 0.6}}},
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_every_quantity_has_a_curve_for_training_and_validation(log: Path) -> None:
    assert read_curves(log) == {
        "depth": {"training": [(2, 2.0), (4, 1.0)], "validation 1.00": [(2, 1.5), (4, 0.9)]},
        "delta1": {"validation 1.00": [(2, 0.4), (4, 0.6)]},
    }


def test_the_picture_is_written_whole(log: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_curves(log, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("text", "culprit"), [("", "no rows yet"), ("{", "not the log")])
def test_a_log_that_is_none_is_named(text: str, culprit: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(DatasetError, match=rf"log\.jsonl: {culprit}"):
        read_curves(tmp_path / "log.jsonl")
