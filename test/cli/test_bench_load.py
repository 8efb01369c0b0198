"""`pag_ros bench load` runs the real node, and says what became of its frames."""

from __future__ import annotations

import json

import pytest

from pag_ros.cli import main

pytest.importorskip("rclpy")


def test_both_modes_run_under_load(tmp_path, capsys):
    file, plot, report = (tmp_path / f"load.{ending}" for ending in ("json", "png", "html"))
    arguments = ["--minutes", "0.1", "--fps", "4", "--pattern", "random", "--hogs", "1"]
    outputs = ["--json", str(file), "--plot", str(plot), "--report", str(report), "--fixed", "1"]
    assert main(["bench", "load", *arguments, *outputs]) == 0
    result = json.loads(file.read_text())
    assert [row["mode"] for row in result["rows"]] == ["deadline", "fixed"]
    assert result["deadline_ms"] == 250.0
    for row in result["rows"]:
        assert row["frames"] == 12
        assert sum(row["outcomes"].values()) == 12
        assert row["outcomes"]["unaccounted for"] == 0
    assert plot.stat().st_size > 5_000
    html = report.read_text()
    assert "<svg" in html
    assert "random, fixed 1" in html
    assert "random    deadline" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--fps", "0"], ["--minutes", "0"], ["--hogs", "-1"], ["--fixed", "2"]]
)
def test_wrong_arguments_are_refused(arguments, capsys):
    assert main(["bench", "load", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err
