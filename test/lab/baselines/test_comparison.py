"""A comparison in small: every method trains, is scored and stored, and nothing is done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.lab.baselines import METHODS, Comparison, Recipe  # noqa: E402
from pag_ros.lab.model import PagNetwork  # noqa: E402
from pag_ros.lab.results.runs import METRICS, load_run, load_runs  # noqa: E402
from pag_ros.lab.training.checkpoint import save_checkpoint  # noqa: E402

RECIPE = Recipe(size=(64, 48), iterations=2, batch=2)


@pytest.fixture
def checkpoint(network: PagNetwork, tmp_path: Path) -> Path:
    average = {f"module.{name}": value for name, value in network.state_dict().items()}
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"average": average, "config": vars(network.config)})
    return path


def comparison(checkpoint: Path, rooms: Path, recipe: Recipe = RECIPE) -> Comparison:
    return Comparison(checkpoint, [rooms], [rooms], recipe, checkpoint.parent / "results", limit=4)


def test_every_method_is_trained_scored_and_stored(checkpoint: Path, rooms: Path) -> None:
    runs = comparison(checkpoint, rooms)
    before = {name: value.clone() for name, value in runs.network.state_dict().items()}
    for job in runs.jobs(list(METHODS), [0.5], [0]):
        runs.run(job)
    stored = load_runs(runs.out)
    assert {run.method for run in stored} == set(METHODS)
    assert {run.budget for run in stored if run.method == "pag"} == {1.0, 0.5}
    assert all(set(run.scores) == {metric.key for metric in METRICS} for run in stored)
    full = next(run for run in stored if run.method == "full")
    assert full.realised_budget == 1.0
    for run in stored:
        parts = sum(run.macs[part] for part in ("dense", "gates", "gated", "interpolation"))
        assert run.macs["mean"] == pytest.approx(parts)
        if run.budget == 0.5:
            assert run.macs["mean"] < full.macs["mean"], run.method
    assert runs.jobs(list(METHODS), [0.5], [0]) == []
    for name, value in runs.network.state_dict().items():
        assert torch.equal(value, before[name]), "every method starts from the same weights"


def test_same_seed_same_numbers(checkpoint: Path, rooms: Path) -> None:
    runs = comparison(checkpoint, rooms)
    (job,) = runs.jobs(["sact"], [0.5], [7])
    path = runs.out / "sact_0.50_seed7.json"
    runs.run(job)
    first = path.read_text()
    path.unlink()
    runs.run(job)
    assert path.read_text() == first


def test_a_half_done_comparison_goes_on(checkpoint: Path, rooms: Path) -> None:
    runs = comparison(checkpoint, rooms)
    jobs = runs.jobs(["grid", "pag"], [0.5, 0.3], [0])
    assert [(job.method, job.budgets) for job in jobs] == [
        ("pag", (1.0, 0.5, 0.3)),
        ("grid", (0.5,)),
        ("grid", (0.3,)),
    ]
    runs.run(jobs[1])
    left = runs.jobs(["grid", "pag"], [0.5, 0.3], [0])
    assert left == [jobs[0], jobs[2]]


def test_results_of_another_recipe_are_not_mixed_in(checkpoint: Path, rooms: Path) -> None:
    runs = comparison(checkpoint, rooms)
    runs.run(runs.jobs(["truncated"], [0.5], [0])[0])
    other = comparison(checkpoint, rooms, replace(RECIPE, iterations=3))
    with pytest.raises(
        ParameterError, match=r"truncated_0\.50_seed0\.json: made with another iter"
    ):
        other.jobs(["truncated"], [0.5], [0])


def test_command_compares_times_and_makes_the_page(
    checkpoint: Path, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    arguments = ["compare", "--init", checkpoint, "--data", rooms, "--validation", rooms]
    arguments += [
        "--method",
        "pag",
        "grid",
        "--budgets",
        "0.5",
        "--iterations",
        "1",
        "--batch",
        "1",
    ]
    arguments += ["--size", "64x48", "--limit", "2", "--rounds", "1", "--out", tmp_path / "runs"]
    assert main([str(argument) for argument in arguments]) == 0
    timed = load_run(tmp_path / "runs" / "pag_0.50_seed0.json")
    assert timed.milliseconds is not None
    assert timed.milliseconds > 0
    assert "interleaved" in timed.timing
    untimed = load_run(tmp_path / "runs" / "grid_0.50_seed0.json")
    assert untimed.milliseconds is None
    assert untimed.timing.startswith("not timed: ")
    page = tmp_path / "docs" / "results.md"
    assert main(["results", "--runs", str(tmp_path / "runs"), "--out", str(page)]) == 0
    assert "grid perforation" in page.read_text()
    assert (page.parent / "pictures" / "results_depth.png").is_file()
    assert str(tmp_path) not in json.dumps(vars(timed), default=str)
