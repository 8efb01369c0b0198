"""`pag_ros bench transport` counts what a camera process sends and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.cli import main

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")


def test_small_pictures_arrive_and_are_answered(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "transport.json"
    command = ["bench", "transport", "--model", str(tiny_model), "--sizes", "64x48", "--fps", "10"]
    command += ["--seconds", "1", "--asked", "automatic", "reliable"]
    assert main([*command, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [(row["offered"], row["asked"]) for row in rows] == [
        ("reliable", "automatic"),
        ("reliable", "reliable"),
        ("best_effort", "automatic"),
    ]
    for row in rows:
        assert row["sent"] == 10
        assert 0 < row["answered"] <= row["received"] <= 10
    assert rows[0]["received"] == 10
    text = capsys.readouterr().out
    assert "| 64x48 | 10 | best effort | automatic | 10 |" in text


@pytest.mark.parametrize(
    ("option", "value"), [("--sizes", "64"), ("--fps", "0"), ("--seconds", "1e9")]
)
def test_what_cannot_be_measured_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "transport", option, value]) == 2
    assert f"{option}" in capsys.readouterr().err
