"""`pag_ros bench deadline`: numbers for programs, a table and a picture for people."""

from __future__ import annotations

import json

import pytest

from pag_ros.cli import main

SHORT = ["bench", "deadline", "--frames", "150", "--seeds", "1"]
FIELDS = {
    "controller",
    "trace",
    "frames",
    "miss_rate",
    "miss_low",
    "miss_high",
    "settle_mean",
    "settle_max",
    "density_mean",
    "p99_over_deadline",
}


def test_every_controller_meets_every_trace(tmp_path, capsys):
    file, plot = tmp_path / "deadline.json", tmp_path / "deadline.png"
    assert main([*SHORT, "--json", str(file), "--plot", str(plot)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert all(set(row) >= FIELDS for row in rows)
    controllers = {row["controller"] for row in rows}
    assert controllers >= {"deadline", "fixed", "pi", "aimd", "kalman", "oracle"}
    traces = {row["trace"] for row in rows}
    assert traces == {"quiet", "steps", "staircase", "bursts", "ramp"}
    assert len(rows) == len(controllers) * len(traces)
    assert plot.stat().st_size > 10_000
    assert "us a frame" in capsys.readouterr().out


def test_a_larger_network_is_planned_for_in_the_same_way(capsys):
    rows = {}
    for size in ("320x240", "640x480"):
        assert main([*SHORT, "--only", "steps", "--size", size, "--json", "-"]) == 0
        result = json.loads(capsys.readouterr().out)["rows"]
        rows[size] = next(row for row in result if row["controller"] == "deadline")
    # The simulated machine is as much faster as the network is larger.
    own, large = rows.values()
    assert large["density_mean"] == pytest.approx(own["density_mean"], abs=0.02)
    assert large["miss_rate"] == pytest.approx(own["miss_rate"], abs=0.02)


def test_a_recorded_trace_is_played(tmp_path, capsys):
    trace = tmp_path / "mine.json"
    trace.write_text(json.dumps({"step_s": 0.5, "slowdown": [1.0, 1.5] * 5}))
    assert main([*SHORT, "--trace", str(trace), "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["trace"] for row in rows} == {"mine.json"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--frames", "3"], "--frames must be 120 or more"),
        (["--seeds", "9"], "--seeds 1 to 5"),
        (["--only", "nothing"], "there are quiet"),
        (["--trace", "missing.json"], "missing.json"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words, capsys):
    assert main(["bench", "deadline", *arguments]) != 0
    assert words in capsys.readouterr().err
