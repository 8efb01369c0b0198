"""The results page from stored runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.errors import DatasetError
from pag_ros.lab.results.page import gather, page, write_page
from pag_ros.lab.results.runs import RunResult, load_run, load_runs, save_run

SETTINGS = {
    "init_sha256": "0",
    "size": [160, 120],
    "iterations": 10,
    "batch": 8,
    "learning_rate": 3e-4,
    "train_frames": 100,
    "validation_frames": 20,
}


def run(
    method: str, budget: float, seed: int, delta1: float, normals: float = 20.0, macs: float = 5e8
) -> RunResult:
    parts = {"dense": 1e8, "gates": 0.0, "gated": macs - 1e8, "interpolation": 0.0}
    return RunResult(
        method=method,
        budget=budget,
        seed=seed,
        scores={"depth delta1": delta1, "normals median": normals},
        macs={"mean": macs, "p5": macs, "p95": macs, **parts},
        realised_budget=budget,
        settings=SETTINGS,
    )


RUNS = (
    run("full", 1.0, 0, 0.8, 16.0, 9e8),
    run("pag", 0.5, 0, 0.70, 20.0),
    run("pag", 0.5, 1, 0.74, 20.0),
    run("grid", 0.5, 0, 0.73, 24.0),
    run("truncated", 0.5, 0, 0.60, 20.0, 6e8),
)


def test_entries_hold_mean_spread_and_relative_loss() -> None:
    full, pag, *_ = gather(RUNS)
    assert (full.method, pag.method) == ("full", "pag")
    assert pag.cells["depth delta1"].mean == pytest.approx(0.72)
    assert pag.cells["depth delta1"].spread == pytest.approx(0.02828, abs=1e-5)
    assert full.cells["depth delta1"].spread is None
    assert full.relative_loss == 0.0
    # 10 % less of delta1, 25 % more degrees.
    assert pag.relative_loss == pytest.approx((0.1 + 0.25) / 2)


def test_page_shows_the_best_and_says_where_ours_is_not() -> None:
    text = page(RUNS, ["pictures/results_depth.png"])
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert "**0.7300**" in rows["| grid perforation"]
    assert "**" not in rows["| truncated trunk †"]
    assert "0.7200 ± 0.0283" in rows["| PAG, one network for all budgets (ours)"]
    assert "**20.00 ± 0.00**" in rows["| PAG, one network for all budgets (ours)"]
    section = text.partition("## Where ours is not the best")[2]
    assert "depth δ < 1.25, budget 0.5: ours 0.7200; grid perforation 0.7300." in section
    assert "one seed only" in section
    assert "normals" not in section


def test_a_lead_within_the_spread_is_called_so() -> None:
    runs = [*RUNS, run("grid", 0.5, 1, 0.73)]
    assert "grid perforation 0.7300 (within the spread over seeds)" in page(runs, [])
    clear = [*RUNS, run("sact", 0.5, 0, 0.9), run("sact", 0.5, 1, 0.9)]
    assert "ours 0.7200; pixels that halt (SACT-like) 0.9000; grid" in page(clear, [])


def test_missing_milliseconds_are_explained() -> None:
    timed = replace(RUNS[1], milliseconds=12.34, timing="median in the runtime")
    untimed = replace(RUNS[3], timing="not timed: it has no such masks")
    text = page([RUNS[0], timed, untimed], [])
    assert "| 12.3 |" in text
    assert "grid perforation: not timed: it has no such masks." in text


def test_same_runs_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one", "other"):
        runs = RUNS if name == "one" else tuple(reversed(RUNS))
        for stored in runs:
            save_run(stored, tmp_path / name / "runs")
        write_page(load_runs(tmp_path / name / "runs"), tmp_path / name / "docs" / "results.md")
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert Path("docs/pictures/results_normals.png") in files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    save_run(RUNS[0], tmp_path)
    assert load_run(tmp_path / "full_1.00_seed0.json") == RUNS[0]


@pytest.mark.parametrize(
    "change",
    [
        {"budget": "0.5"},
        {"timing": 3},
        {"scores": {"depth delta1": float("nan")}},
        {"realised_budget": None},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_named_with_its_file(
    change: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, **asdict(RUNS[3]), **change}))
    with pytest.raises(DatasetError, match=r"run\.json: not a result"):
        load_run(tmp_path / "run.json")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 1}', '{"format": 2}', "broken method", "broken score"],
)
def test_command_names_the_broken_file(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stored in RUNS[:2]:
        save_run(stored, tmp_path / "runs")
    data = {"format": 1, **asdict(RUNS[3])}
    if text == "broken method":
        text = json.dumps({**data, "method": "magic"})
    elif text == "broken score":
        text = json.dumps({**data, "scores": {"depth delta1": "good"}})
    (tmp_path / "runs" / "third.json").write_text(text)
    arguments = ["results", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page.md")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "third.json: not a result of `pag_ros compare`" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page.md").exists()


def test_runs_of_different_comparisons_are_not_mixed() -> None:
    other = replace(RUNS[3], settings={**SETTINGS, "iterations": 20})
    with pytest.raises(DatasetError, match=r"grid_0\.50_seed0\.json: made with another iterations"):
        page([*RUNS[:3], other], [])


def test_an_empty_folder_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no results"):
        load_runs(tmp_path)
