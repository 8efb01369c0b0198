"""`pag_ros bench load` runs the real node, and says what became of its frames."""

from __future__ import annotations

import json

import pytest

from pag_ros.cli import main
from pag_ros.errors import NodeError
from pag_ros.replay.live_log import PARTS
from pag_ros.replay.urgency import urgency_here

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
        assert tuple(row["parts_ms"]) == PARTS
        assert row["camera"] == ""
    assert result["instrument"] == urgency_here()
    assert plot.stat().st_size > 5_000
    html = report.read_text()
    assert "<svg" in html
    assert "random, fixed 1" in html
    assert urgency_here() in html
    text = capsys.readouterr().out
    assert "random    deadline" in text
    assert "delivery" in text


def test_two_cameras_have_a_row_each(capsys):
    arguments = ["--minutes", "0.05", "--fps", "3", "--pattern", "none", "--hogs", "0"]
    assert main(["bench", "load", *arguments, "--cameras", "2", "--fixed", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["camera"] for row in rows] == ["camera1", "camera2"]
    for row in rows:
        assert sum(row["outcomes"].values()) == row["frames"] == 9
        assert row["outcomes"]["unaccounted for"] == 0


def test_the_node_is_told_the_size(capsys, monkeypatch):
    def start(namespace, parameters, params_file, log):
        raise NodeError(f"started at {parameters['network_size']}")

    monkeypatch.setattr("pag_ros.replay.load.NodeProcess", start)
    assert main(["bench", "load", "--fps", "4", "--size", "160x120"]) == 2
    assert "started at 160x120" in capsys.readouterr().err


def test_a_bag_without_images_to_send_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("pag_ros.replay.load.shots", lambda bag, rate: iter(()))
    assert main(["bench", "load", "--fps", "4"]) == 2
    assert "no image can be sent" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [["--fps", "0"], ["--minutes", "0"], ["--hogs", "-1"], ["--fixed", "2"], ["--cameras", "0"]],
)
def test_wrong_arguments_are_refused(arguments, capsys):
    assert main(["bench", "load", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err
