"""`pag_ros evaluate`: report, numbers for programs, and one line for everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.cli import main

DEMO_BAG = Path(__file__).parents[2] / "demo" / "rooms"


def evaluate(bag, model, out, *words):
    return main(["evaluate", str(bag), "--out", str(out), "--model", str(model), *words])


def test_report_and_numbers(tiny_model, tmp_path, capsys):
    words = ("--budget", "1", "0.5", "--limit", "2", "--json", str(tmp_path / "numbers.json"))
    assert evaluate(DEMO_BAG, tiny_model, tmp_path / "out", *words) == 0
    assert "report.html" in capsys.readouterr().out
    assert "</html>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert [run["budget"] for run in data["runs"]] == [1.0, 0.5]
    assert all(len(run["frames"]) == 2 for run in data["runs"])
    assert "depth" in data["runs"][0]["scores"]


def test_json_on_stdout_is_nothing_but_json(tiny_model, tmp_path, capsys):
    words = ("--budget", "1", "--limit", "1", "--json", "-")
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["name"] == "budget 1.00"


@pytest.mark.parametrize(
    ("bag", "words", "text"),
    [
        ("nowhere", (), "no such bag"),
        (".", (), "metadata.yaml"),
        (DEMO_BAG, ("--image-topic", "/front"), "no image topic /front"),
        (DEMO_BAG, ("--budget", "2", "--device", "cpu"), "budgets must lie in"),
        (DEMO_BAG, ("--limit", "0", "--device", "cpu"), "limit"),
        (DEMO_BAG, ("--model", "nothing.onnx"), "nothing.onnx"),
    ],
)
def test_what_is_wrong_is_one_line(tiny_model, tmp_path, capsys, monkeypatch, bag, words, text):
    monkeypatch.chdir(tmp_path)
    assert evaluate(bag, tiny_model, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("pag_ros: error: ")
    assert len(error.splitlines()) == 1
    assert text in error
