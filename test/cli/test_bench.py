"""`pag_ros bench`: tables for people, JSON for programs, pictures for the docs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pag_ros.cli import main

pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def same_cpus() -> Iterator[None]:
    """The command keeps its process on some CPUs; the other tests want theirs back."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def test_operations_as_table_json_and_picture(tmp_path: Path, capsys):
    numbers, picture = tmp_path / "new" / "ops.json", tmp_path / "ops.png"
    arguments = ["--only", "mbconv branch 112", "--densities", "0.5", "1", "--rounds", "1"]
    arguments += ["--threads", "1", "--json", str(numbers), "--plot", str(picture)]
    assert main(["bench", "ops", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "mbconv branch 112 @ 15x20" in printed
    result = json.loads(numbers.read_text())
    assert {"machine", "versions", "rows"} == set(result)
    assert result["machine"]["threads"] == 1
    assert len(result["rows"]) == 4
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_networks_as_json(capsys, monkeypatch):
    pytest.importorskip("torch")
    from pag_ros.lab.bench import network

    config, _ = network.MODELS["lite0-plain"]
    monkeypatch.setitem(network.MODELS, "lite0-plain", (config, (64, 48)))
    arguments = ["--only", "lite0-plain", "--densities", "0.5", "--rounds", "1", "--json", "-"]
    assert main(["bench", "network", *arguments, "--threads", "1"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    kinds = [row["precision"] for row in rows]
    assert kinds == [kind for kind in ("fp32", "bf16", "int8") if kind in kinds]
    assert ("int8" in kinds) == bool(find_spec("nncf"))
    for row in rows:
        assert (row["model"], row["density"]) == ("lite0-plain", 0.5)
        dense = row["dense_ms"]
        same = [ms for run, ms in dense.items() if run.endswith(row["precision"])]
        assert row["speedup"] == pytest.approx(min(same) / row["ours_ms"], rel=0.01)
        assert row["speedup_any"] == pytest.approx(min(dense.values()) / row["ours_ms"], rel=0.01)


def test_sizes_take_turns_over_all_budgets(tiny_model: Path, capsys):
    arguments = ["--model", str(tiny_model), "--threads", "1", "--rounds", "1"]
    arguments += ["--sizes", "64x48", "320x240", "--budgets", "1", "0.5", "--json", "-"]
    assert main(["bench", "sizes", *arguments]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["size"], row["budget"]) for row in rows] == [
        ("64x48", 1.0),
        ("64x48", 0.5),
        ("320x240", 1.0),
        ("320x240", 0.5),
    ]
    assert rows[0]["ratio"] == 1.0
    assert rows[2]["ms"] == pytest.approx(rows[2]["ratio"] * rows[0]["ms"], rel=0.02)
    assert main(["bench", "sizes", *arguments[:-2]]) == 0
    assert "| 320x240 | 0.5" in capsys.readouterr().out


def test_sizes_are_measured_in_the_precision_that_is_asked_for(
    tiny_model: Path, capsys, monkeypatch
):
    monkeypatch.setattr("pag_ros.runtime.openvino.session.native_precisions", lambda: ["bf16"])
    monkeypatch.setattr("pag_ros.runtime.openvino.session.slow_precisions", list)
    arguments = ["--model", str(tiny_model), "--threads", "1", "--rounds", "1", "--budgets", "1"]
    arguments += ["--sizes", "64x48", "32x24"]
    for precision, taken in (("bf16", "bf16"), ("fp32", "fp32"), ("auto", "fp32")):
        assert main(["bench", "sizes", *arguments, "--precision", precision]) == 0
        told = capsys.readouterr()
        assert f" cpu {taken} " in told.out
        assert told.err.count("precision auto takes fp32") == (precision == "auto")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ops", "--only", "conv9x9"], "--only conv9x9: there are conv1x1"),
        (["network", "--only", "vgg"], "--only vgg: there are lite0"),
        (["sizes", "--budgets", "2"], "--budgets must lie in 0 to 1"),
        (["sizes", "--sizes", "333x240"], "near are 328x240 and 336x240"),
        (["ops", "--threads", "255"], "--threads 255: this process may use"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_there_is(arguments, message, capsys):
    assert (
        main(["bench", *arguments, *([] if "--threads" in arguments else ["--threads", "1"])]) == 2
    )
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["gpu"], ["ops", "--densities", "2"], ["ops", "--rounds", "0"]]
)
def test_what_cannot_be_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["bench", *arguments])
