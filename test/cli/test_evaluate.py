"""`pag_ros evaluate`: report, numbers for programs, and one line for everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.evaluation import bags

DEMO_BAG = Path(__file__).parents[2] / "demo" / "rooms"


def evaluate(bag, model, out, *words):
    return main(["evaluate", str(bag), "--out", str(out), "--model", str(model), *words])


def test_report_and_numbers(tiny_model, tmp_path, capsys):
    words = ("--budgets", "1", "0.5", "--limit", "2", "--json", str(tmp_path / "numbers.json"))
    assert evaluate(DEMO_BAG, tiny_model, tmp_path / "out", *words) == 0
    assert "report.html" in capsys.readouterr().out
    assert "</html>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert [run["budget"] for run in data["runs"]] == [1.0, 0.5]
    assert all(len(run["frames"]) == 2 for run in data["runs"])
    assert "depth" in data["runs"][0]["scores"]


def test_the_size_is_told_in_the_report(tiny_model, tmp_path, capsys):
    words = ("--budgets", "1", "--limit", "1", "--size", "96x72", "--device", "cpu", "--json", "-")
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words) == 0
    about = json.loads(capsys.readouterr().out)["about"]
    assert about["model"] == "tiny (96x72)"
    assert about["device"].endswith(", 96x72")


def test_json_on_stdout_is_nothing_but_json(tiny_model, tmp_path, capsys):
    words = ("--budgets", "1", "--limit", "1", "--json", "-")
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["name"] == "budget 1.00"


@pytest.mark.parametrize(
    ("bag", "words", "text"),
    [
        ("nowhere", (), "no such bag"),
        (".", (), "metadata.yaml"),
        (DEMO_BAG, ("--image-topic", "/front"), "no image topic /front"),
        (DEMO_BAG, ("--budgets", "2", "--device", "cpu"), "budgets must lie in"),
        (DEMO_BAG, ("--limit", "0", "--device", "cpu"), "limit"),
        (DEMO_BAG, ("--sync-tolerance", "-1"), "--sync-tolerance must lie in"),
        (DEMO_BAG, ("--sync-tolerance", "nan"), "--sync-tolerance must lie in"),
        (DEMO_BAG, ("--depth-scale", "0"), "--depth-scale must lie in 1e-06..10 m, got 0"),
        (DEMO_BAG, ("--depth-scale", "nan"), "--depth-scale must lie in"),
        (DEMO_BAG, ("--depth-camera-info-topic", "/x"), "no depth_camera_info topic /x"),
        (DEMO_BAG, ("--model", "nothing.onnx"), "nothing.onnx"),
        (DEMO_BAG, ("--camera-height", "0"), "height must lie above 0, at most 100 m, got 0"),
        (DEMO_BAG, ("--camera-pitch", "20"), "--camera-pitch is of no use without"),
        (DEMO_BAG, ("--camera-height", "1", "--ground-frame", "map"), "leave one out"),
        (DEMO_BAG, ("--ground-frame", "map", "--device", "cpu"), "--ground-frame: no transform"),
    ],
)
def test_what_is_wrong_is_one_line(tiny_model, tmp_path, capsys, monkeypatch, bag, words, text):
    monkeypatch.chdir(tmp_path)
    words = (*words, "--precision", "fp32")  # auto may say that nothing was measured
    assert evaluate(bag, tiny_model, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("pag_ros: error: ")
    assert len(error.splitlines()) == 1
    assert text in error


def test_what_became_of_images_and_truth_is_said(tiny_model, tmp_path, capsys, monkeypatch):
    decode, calls = bags.to_depth, []

    def to_depth(message):
        calls.append(message)
        if len(calls) == 1:
            raise ValueError("broken")
        return decode(message)

    monkeypatch.setitem(bags.TRUTH_READERS, "depth", to_depth)
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, "--budgets", "1", "--limit", "3") == 0
    printed = capsys.readouterr()
    assert "images: 128 in the bag, 3 evaluated, 125 not reached" in printed.out
    assert "75 messages, 2 scored, 1 unusable, 72 not reached" in printed.out
    assert "1 of 75 messages left out: cannot be decoded (broken)" in printed.err


@pytest.mark.parametrize(("scale", "text"), [("0.001", "1 scored"), ("10", "no pixel is from")])
def test_the_unit_of_depth_is_an_option(tiny_model, tmp_path, capsys, scale, text):
    words = ("--budgets", "1", "--limit", "1", "--depth-scale", scale)
    evaluate(DEMO_BAG, tiny_model, tmp_path, *words)
    printed = capsys.readouterr()
    assert text in printed.out + printed.err


@pytest.mark.parametrize("words", [(), ("--json", "-")])
def test_truth_that_gives_nothing_is_an_error_after_the_report(
    tiny_model, tmp_path, capsys, monkeypatch, words
):
    def to_depth(message):
        raise ValueError("broken")

    monkeypatch.setitem(bags.TRUTH_READERS, "depth", to_depth)
    words = ("--budgets", "1", "--limit", "2", *words)
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words) == 2
    printed = capsys.readouterr()
    assert (tmp_path / "report.html").is_file()
    errors = [line for line in printed.err.splitlines() if line.startswith("pag_ros: error: ")]
    assert len(errors) == 1
    assert "/truth/depth" in errors[0]
    assert "2 x cannot be decoded (broken)" in errors[0]
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words, "--depth-topic", "none") == 0


def test_the_cameras_height_is_told_of(tiny_model, tmp_path, capsys):
    words = ("--budgets", "1", "--limit", "2", "--camera-height", "1.2", "--camera-pitch", "20")
    assert evaluate(DEMO_BAG, tiny_model, tmp_path, *words) == 0
    assert "scale of the depth: by the floor, seen in " in capsys.readouterr().out
