"""`pag_ros calibrate`: a table for people or programs, kept where the node finds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.runtime import open_session
from pag_ros.runtime.calibration import table_for


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_table_is_printed_and_kept(tiny_model: Path, cache: Path, capsys):
    assert main(["calibrate", str(tiny_model), "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "budget" in printed
    assert "block1" in printed
    (stored,) = (cache / "pag_ros" / "latency").iterdir()
    assert str(stored) in printed


def test_the_table_is_drawn(tiny_model: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "table.png"
    assert main(["calibrate", str(tiny_model), "--threads", "1", "--plot", str(picture)]) == 0
    assert picture.stat().st_size > 5_000


def test_json_is_the_table_that_the_next_session_uses(tiny_model: Path, capsys):
    assert main(["calibrate", str(tiny_model), "--threads", "1", "--json", "-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["path"]).is_file()
    session = open_session(tiny_model, "cpu", 1)
    used = table_for(session)
    session.close()
    assert [stage.name for stage in used.stages] == [s["name"] for s in printed["stages"]]
    assert list(used.stages[1].seconds) == printed["stages"][1]["seconds"]


def test_every_size_has_a_table_of_its_own(tiny_model: Path, cache: Path, capsys):
    for size in ("64x48", "96x72"):
        assert main(["calibrate", str(tiny_model), "--threads", "1", "--size", size]) == 0
    assert "openvino" in capsys.readouterr().out
    assert len(list((cache / "pag_ros" / "latency").iterdir())) == 2
    session = open_session(tiny_model, "cpu", 1, (96, 72))
    assert table_for(session).stages[1].keep[-1] == 12 * 9
    session.close()


def test_a_cache_that_cannot_be_written_is_one_line(tiny_model: Path, cache: Path, capsys):
    (cache / "pag_ros").write_text("a file in the way")
    assert main(["calibrate", str(tiny_model), "--threads", "1"]) == 2
    assert "set XDG_CACHE_HOME" in capsys.readouterr().err
