"""Which block gets how much of a budget: a greedy search for a table of nested densities.

Every step takes the same number of multiply-adds from one block, that which is missed least. So
the densities only ever fall and the rows of the table are nested: a larger budget only adds pixels.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import default_collate

from pag_ros import checks
from pag_ros.errors import DatasetError, ParameterError
from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.gating import TopKGating
from pag_ros.lab.training.rooms import Rooms
from pag_ros.lab.training.tasks import task_losses
from pag_ros.manifest import MAX_BLOCKS, Manifest
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
MAX_TABLE_BYTES = 1 << 20
TOLERANCE = 0.005
"""A row may miss its budget by so much of the gated multiply-adds."""

_BATCH = 20
_MAX_LOSS = 1e9
_NOTHING = 1e-9
"""Share of the gated multiply-adds that is only rounding."""

Densities = tuple[float, ...]
"""Share of the pixels that each gated block computes, 0 to 1."""

Loss = Callable[[Densities], float]


@dataclass(frozen=True)
class Allocation:
    """Budgets and how to spend them.

    Attributes:
        rows: budget in (0, 1], falling -> densities, each at most that of the row before.
        loss: budget -> loss on the search's data with the row's densities.
        uniform_loss: the same with every density equal to the budget.
    """

    rows: Mapping[float, Densities]
    loss: Mapping[float, float] = field(default_factory=dict)
    uniform_loss: Mapping[float, float] = field(default_factory=dict)


class _Search:
    """The state of one search: costs, and losses seen so far."""

    def __init__(self, loss: Loss, costs: Sequence[int], step: float, floor: float) -> None:
        self._loss = loss
        self._seen: dict[Densities, float] = {}
        self._shares = [cost / sum(costs) for cost in costs]
        self._step = step
        self._floor = floor

    def loss(self, row: Densities) -> float:
        key = tuple(round(density, 9) for density in row)
        if key not in self._seen:
            self._seen[key] = self._loss(row)
        return self._seen[key]

    def rows(self, budgets: Sequence[float], pinned: set[float]) -> dict[float, Densities]:
        """A nested row for each budget (falling); those at pinned budgets are uniform.

        A row above a pinned budget keeps every density at or above it, so that it stays nested.
        """
        row: Densities = (1.0,) * len(self._shares)
        found, spent = {}, 1.0
        for budget in budgets:
            if budget in pinned:
                row = (budget,) * len(row)
            else:
                floor = max([self._floor, *(pin for pin in pinned if pin < budget)])
                row = self._lowered(row, spent, budget, min(floor, budget))
            found[budget], spent = row, budget
        return found

    def _lowered(self, row: Densities, spent: float, budget: float, floor: float) -> Densities:
        """Lower a row that spends `spent`, by equal steps in cost, to one that spends `budget`."""
        steps = max(1, round((spent - budget) / self._step))
        for _ in range(steps):
            rest = (spent - budget) / steps
            while rest > _NOTHING:
                row, taken = self._best_step(row, rest, floor)
                rest -= taken
        return row

    def _best_step(self, row: Densities, saving: float, floor: float) -> tuple[Densities, float]:
        """Lower one block by up to `saving` of all multiply-adds: least loss for what it saves."""
        before = self.loss(row)
        best: tuple[float, Densities, float] | None = None
        for slot, share in enumerate(self._shares):
            possible = min(saving, share * (row[slot] - floor))
            if possible <= 1e-3 * _NOTHING:
                continue
            lowered = (*row[:slot], row[slot] - possible / share, *row[slot + 1 :])
            price = (self.loss(lowered) - before) / possible
            if best is None or price < best[0]:
                best = price, lowered, possible
        assert best is not None, "a budget above the floor leaves a block to lower"
        return best[1], best[2]


def search(
    loss: Loss,
    costs: Sequence[int],
    budgets: Sequence[float],
    step: float = 0.05,
    floor: float = 0.05,
    progress: Callable[[], object] = lambda: None,
) -> Allocation:
    """Find a nested table that is at no budget worse than uniform densities.

    Where the greedy row is worse than the uniform one, the uniform one takes its place and the rows
    above are searched anew, kept above it; in the worst case the whole table is uniform.

    Args:
        loss: of densities; lower is better; called once for each it has not seen.
        costs: multiply-adds of each block with every pixel computed.
        budgets: in (0, 1], to two decimals; 1 is added.
        step: multiply-adds that one greedy step takes, share of all gated ones.
        floor: lowest density of a block (the budget itself where that is lower).
        progress: called after every evaluation of the loss.

    Raises:
        ParameterError: a budget is out of range.
    """
    if not budgets or not all(0.005 < budget <= 1.0 for budget in budgets):
        raise ParameterError(f"budgets must lie in (0, 1], got {list(budgets)}")
    ordered = sorted({1.0, *(round(budget, 2) for budget in budgets)}, reverse=True)

    def counted(row: Densities) -> float:
        value = loss(row)
        progress()
        return value

    state = _Search(counted, costs, step, floor)
    uniform = {budget: state.loss((budget,) * len(costs)) for budget in ordered}
    pinned: set[float] = set()
    while True:
        rows = state.rows(ordered, pinned)
        worse = {b for b in ordered if b not in pinned and state.loss(rows[b]) > uniform[b]}
        if not worse:
            return Allocation(rows, {b: state.loss(rows[b]) for b in ordered}, uniform)
        pinned.add(max(worse))


def validation_loss(
    network: PagNetwork, folders: list[Path], size: tuple[int, int], frames: int
) -> Loss:
    """The mean over the heads of the loss relative to that with every pixel computed.

    Args:
        network: in evaluation mode.
        folders: rendered datasets.
        size: (width, height) of the network's input.
        frames: so many, evenly spread over all.
    """
    rooms = Rooms(folders, size, train=False)
    count = min(frames, len(rooms))
    keys = [i * len(rooms) // count for i in range(count)]
    device = next(network.parameters()).device
    batches = [
        {
            name: value.to(device)
            for name, value in default_collate(
                [rooms[key] for key in keys[at : at + _BATCH]]
            ).items()
        }
        for at in range(0, count, _BATCH)
    ]

    @torch.no_grad()
    def terms(row: Densities) -> dict[str, float]:
        sums: dict[str, float] = {}
        for batch in batches:
            gating = TopKGating(torch.tensor(row, device=device))
            outputs = network(batch["image"].float(), gating)
            for name, term in task_losses(outputs, batch).items():
                sums[name] = sums.get(name, 0.0) + float(term) * len(batch["image"]) / count
        return sums

    full = terms((1.0,) * len(network.gated))

    def loss(row: Densities) -> float:
        return sum(value / full[name] for name, value in terms(row).items()) / len(full)

    return loss


def keep_rows(allocation: Allocation, manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The table in pixels of a model's blocks: budget as "0.50" -> keep.

    Raises:
        ParameterError: another number of blocks, or a row misses its budget by more than
            `TOLERANCE`.
    """
    blocks = manifest.blocks
    gated = sum(block.pixels * block.macs_per_pixel for block in blocks)
    rows = {}
    for budget, densities in allocation.rows.items():
        if len(densities) != len(blocks):
            raise ParameterError(
                f"the table is for {len(densities)} gated blocks, {manifest.name} has {len(blocks)}"
            )
        keep = tuple(round(d * b.pixels) for d, b in zip(densities, blocks, strict=True))
        spent = sum(k * b.macs_per_pixel for k, b in zip(keep, blocks, strict=True)) / gated
        if abs(spent - budget) > TOLERANCE:
            raise ParameterError(
                f"the table's row for budget {budget:g} spends {spent:.3f} of {manifest.name}; "
                "search a table for this network"
            )
        rows[f"{budget:.2f}"] = keep
    return rows


def with_allocation(manifest: Manifest, allocation: Allocation) -> Manifest:
    """The manifest whose `budgets` are the table's; scores of the old ones are dropped.

    Raises:
        ParameterError: see `keep_rows`.
    """
    return replace(manifest, budgets=keep_rows(allocation, manifest), scores={}, half_scores={})


def save_allocation(allocation: Allocation, path: Path) -> None:
    """Write a table as JSON, whole or not at all."""
    data = {
        "format": FORMAT,
        **{
            name: {f"{budget:.2f}": value for budget, value in rows.items()}
            for name, rows in asdict(allocation).items()
        },
    }
    write_text(path, json.dumps(data, indent=2) + "\n", make_folder=True)


def load_allocation(path: Path) -> Allocation:
    """Read a table of `save_allocation`.

    Raises:
        DatasetError: it is missing, damaged, or its rows are not nested.
    """
    with reading(path, "a table of `pag_ros allocate`", DatasetError):
        data = checks.entries(json.loads(read_limited(path, MAX_TABLE_BYTES)), "table")
        if data["format"] != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        rows = {
            float(budget): tuple(
                checks.number(density, "rows", 0.0, 1.0)
                for density in checks.items(row, "rows", 0, MAX_BLOCKS)
            )
            for budget, row in checks.entries(data["rows"], "rows").items()
        }
        _check(rows)
        return Allocation(rows, _losses(data, "loss"), _losses(data, "uniform_loss"))


def _losses(data: Mapping[str, Any], name: str) -> dict[float, float]:
    return {
        float(budget): checks.number(value, name, -_MAX_LOSS, _MAX_LOSS)
        for budget, value in checks.entries(data[name], name).items()
    }


def _check(rows: Mapping[float, Densities]) -> None:
    ordered = [rows[budget] for budget in sorted(rows, reverse=True)]
    if not ordered or not all(0.0 < budget <= 1.0 for budget in rows):
        raise ValueError("budgets must lie in (0, 1]")
    if not all(0.0 <= density <= 1.0 for row in ordered for density in row):
        raise ValueError("densities must lie in [0, 1]")
    for larger, smaller in itertools.pairwise(ordered):
        if any(low > high for low, high in zip(smaller, larger, strict=True)):
            raise ValueError("a smaller budget computes more of a block than a larger one")
