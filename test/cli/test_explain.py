"""`pag_ros explain`: replays a log, tells why budgets fell, draws the course."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from pag_ros.budget import Allowance, RecordedController
from pag_ros.cli import main
from pag_ros.runtime import open_perception


@pytest.fixture
def log(tiny_model: Path, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "decisions.jsonl"
    perception = open_perception(tiny_model, "cpu", 1, escalate=True, decision_log=path)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for frame in range(60):
        allowed_s = 1e-6 if frame == 50 else 1.0
        perception.process(image, 60.0, Allowance.from_now(time.perf_counter(), allowed_s))
    perception.close()
    return path


def test_a_log_is_replayed_told_and_drawn(log, tiny_model, capsys):
    assert main(["explain", str(log), "--model", str(tiny_model)]) == 0
    text = capsys.readouterr().out
    assert "replayed bit for bit: yes" in text
    assert "60 frames planned, 1 skipped" in text
    assert "frame 50: skipped" in text
    assert log.with_suffix(".png").stat().st_size > 5_000


def test_the_log_at_half_the_resolution_lies_beside_it(log, tiny_model):
    half = log.with_stem("decisions_half")
    assert json.loads(half.read_text().splitlines()[0])["input"] == [32, 24]


def test_a_log_is_replayed_at_the_size_that_it_was_written_at(tiny_model, tmp_path, capsys):
    path = tmp_path / "large.jsonl"
    perception = open_perception(tiny_model, "cpu", 1, decision_log=path, size=(96, 72))
    for _ in range(3):
        allowance = Allowance.from_now(time.perf_counter(), 1.0)
        perception.process(np.zeros((48, 64, 3), np.uint8), 60.0, allowance)
    perception.close()
    assert main(["explain", str(path), "--model", str(tiny_model)]) == 0
    assert "replayed bit for bit: yes" in capsys.readouterr().out


def test_a_damaged_line_is_one_line(log, tiny_model, capsys):
    with log.open("a") as file:
        file.write('{"event": "observe", "keep_used": [1e999]}\n')
    assert main(["explain", str(log), "--model", str(tiny_model)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "keep_used: expected a whole number" in line


def test_programs_get_json_and_a_changed_log_fails(log, tiny_model, tmp_path, capsys):
    lines = log.read_text().splitlines()
    entry = json.loads(lines[31])
    changed = "plan" if entry["event"] == "plan" else "observe"
    if changed == "plan":
        entry["plan"]["budget"] += 0.01
    else:
        entry["margin"] += 0.01
    lines[31] = json.dumps(entry)
    log.write_text("\n".join(lines) + "\n")
    picture = tmp_path / "course.svg"
    arguments = ["--model", str(tiny_model), "--json", "-", "--plot", str(picture)]
    assert main(["explain", str(log), *arguments]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["difference"].startswith("line 32:")
    assert figures["frames"] == 60
    assert picture.exists()


def test_a_log_of_no_frame_and_of_another_model_are_refused(
    log, tiny_model, manifest_and_table, tmp_path, capsys
):
    manifest, table = manifest_and_table
    empty = tmp_path / "empty.jsonl"
    RecordedController(empty, manifest, table).close()
    assert main(["explain", str(empty), "--model", str(tiny_model)]) == 2
    assert "no frame was planned" in capsys.readouterr().err
    assert main(["explain", str(log)]) == 2
    assert "decisions on tiny" in capsys.readouterr().err


@pytest.fixture
def manifest_and_table(tiny_model: Path):
    perception = open_perception(tiny_model, "cpu", 1)
    controller = perception.controller
    yield perception.session.manifest, controller.table
    perception.close()
