"""The search for an allocation table: nested, within budget, best where the best is known."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import DatasetError, ParameterError  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.training.allocation import (  # noqa: E402
    Allocation,
    Densities,
    load_allocation,
    save_allocation,
    search,
    with_allocation,
)
from pag_ros.manifest import load_manifest  # noqa: E402

COSTS = [1, 2, 1, 4]
BUDGETS = [0.9, 0.7, 0.5, 0.3, 0.15]


def spent(row: Densities) -> float:
    return sum(c * d for c, d in zip(COSTS, row, strict=True)) / sum(COSTS)


def uneven(row: Densities) -> float:
    """Blocks differ in worth; the first pixels of each are worth most."""
    worth = (5.0, 1.0, 0.2, 3.0)
    return sum(w * (1.0 - d) ** 2 for w, d in zip(worth, row, strict=True))


def together(row: Densities) -> float:
    """Only blocks of like density help each other: any greedy step alone is for the worse."""
    return max(row) - min(row) + 0.01 * (1.0 - min(row))


def misleading(row: Densities) -> float:
    """Cheap at first in one block, then very dear."""
    return 0.1 * sum(1.0 - d for d in row) + (10.0 * (0.6 - row[0]) if row[0] < 0.6 else -1.0)


@pytest.mark.parametrize("loss", [uneven, together, misleading])
def test_rows_are_nested_within_budget_and_never_worse_than_uniform(loss) -> None:
    table = search(loss, COSTS, BUDGETS)
    assert list(table.rows) == [1.0, *BUDGETS]
    for larger, smaller in itertools.pairwise(table.rows.values()):
        assert all(low <= high + 1e-9 for low, high in zip(smaller, larger, strict=True))
    for budget, row in table.rows.items():
        assert all(0.0 <= density <= 1.0 for density in row)
        assert spent(row) == pytest.approx(budget, abs=1e-6)
        assert table.loss[budget] == pytest.approx(loss(row))
        assert loss(row) <= loss((budget,) * len(COSTS)) + 1e-9


def test_the_best_is_found_where_it_is_known() -> None:
    """A linear loss: the blocks whose worth for their cost is least are emptied one by one."""
    worth = (3.0, 1.0, 1.0, 8.0)  # for its cost: 3, 0.5, 1, 2; the second goes first

    def linear(row: Densities) -> float:
        return sum(w * (1.0 - d) for w, d in zip(worth, row, strict=True))

    table = search(linear, COSTS, [0.75, 0.625, 0.375], floor=0.0)
    assert table.rows[0.75] == pytest.approx((1.0, 0.0, 1.0, 1.0), abs=1e-6)
    assert table.rows[0.62] == pytest.approx((1.0, 0.0, 0.0, 0.99), abs=1e-6)
    assert table.rows[0.38] == pytest.approx((1.0, 0.0, 0.0, 0.51), abs=1e-6)


def test_no_block_falls_below_the_floor() -> None:
    table = search(uneven, COSTS, [0.5, 0.2], floor=0.1)
    assert min(min(row) for row in table.rows.values()) >= 0.1 - 1e-9


def test_budgets_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match="budgets"):
        search(uneven, COSTS, [0.5, 1.5])


def test_table_survives_its_file_and_a_broken_one_is_named(tmp_path: Path) -> None:
    table = search(uneven, COSTS, [0.5])
    save_allocation(table, tmp_path / "table.json")
    assert load_allocation(tmp_path / "table.json") == table
    for text in ("{", '{"format": 2}', '{"format": 1, "rows": {"0.5": [0.9], "0.7": [0.2]}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DatasetError, match=r"bad\.json"):
            load_allocation(tmp_path / "bad.json")


def test_table_goes_into_a_manifest(tiny_model: Path) -> None:
    manifest = load_manifest(tiny_model)
    table = Allocation({1.0: (1.0, 1.0), 0.5: (0.75, 0.25)})
    scored = replace(manifest, scores={"0.50": {"a": 1.0}}, half_scores={"0.50": {"a": 1.0}})
    changed = with_allocation(scored, table)
    assert changed.scores == changed.half_scores == {}
    assert changed.keep_for(0.5) == (36, 12)
    assert changed.keep_for(1.0) == (48, 48)
    keeps = [changed.keep_for(step / 20) for step in range(21)]
    for low, high in itertools.pairwise(keeps):
        assert all(a <= b for a, b in zip(low, high, strict=True))
    with pytest.raises(ParameterError, match=r"budget 0\.5 spends"):
        with_allocation(manifest, Allocation({0.5: (0.75, 0.5)}))
    with pytest.raises(ParameterError, match="3 gated blocks"):
        with_allocation(manifest, Allocation({0.5: (0.5, 0.5, 0.5)}))


def test_command_searches_and_stores(rooms: Path, tiny_model: Path, tmp_path: Path) -> None:
    from pag_ros.lab.training.checkpoint import save_checkpoint

    torch.manual_seed(0)
    config = NetworkConfig(blocks=2, channels=8, classes=2, multipool=False, heads=("depth",))
    network = build_network(config)
    average = {f"module.{name}": value for name, value in network.state_dict().items()}
    save_checkpoint(tmp_path / "net.pt", {"average": average, "config": vars(config)})
    for file in (tiny_model, tiny_model.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    model = tmp_path / tiny_model.name
    out = tmp_path / "table.json"
    arguments = ["allocate", "--init", tmp_path / "net.pt", "--validation", rooms, "--out", out]
    arguments += ["--size", "64x48", "--budgets", "0.5", "--step", "0.25", "--frames", "2"]
    assert main([str(argument) for argument in (*arguments, "--model", model)]) == 0
    rows = json.loads(out.read_text())["rows"]
    keep = load_manifest(model).budgets["0.50"]
    assert keep == tuple(round(density * 48) for density in rows["0.50"])
    assert sum(keep) == 48


def test_command_says_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["allocate", "--out", "x.json"]) == 2
    assert "--init, --validation and --out" in capsys.readouterr().err
