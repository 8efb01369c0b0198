"""The comparison's results as a page: tables, plots, and where ours is not the best.

The same stored runs always give the same bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import DatasetError
from pag_ros.lab.results.plots import plot_results
from pag_ros.lab.results.runs import FULL, METRICS, OURS, TITLES, RunMetric, RunResult
from pag_ros.writing import write_text

_EVEN = 0.02
"""Multiply-adds that differ by no more than this share count as equal."""


@dataclass(frozen=True)
class Cell:
    """A score of one method at one budget over seeds: mean, and spread where there are several."""

    mean: float
    spread: float | None


@dataclass(frozen=True)
class Entry:
    """All seeds of one method at one budget.

    Attributes:
        cells: key of `METRICS` -> its score.
        relative_loss: mean over the tasks' main metrics of how much worse than everything computed,
            as a share of that one's score; None where the latter was not run.
    """

    method: str
    budget: float
    runs: tuple[RunResult, ...]
    cells: dict[str, Cell]
    relative_loss: float | None

    @property
    def macs(self) -> float:
        return statistics.fmean(run.macs["mean"] for run in self.runs)

    @property
    def realised_budget(self) -> float:
        return statistics.fmean(run.realised_budget for run in self.runs)

    @property
    def milliseconds(self) -> float | None:
        known = [run.milliseconds for run in self.runs if run.milliseconds is not None]
        return statistics.median(known) if known else None


def write_page(runs: Sequence[RunResult], out: Path) -> None:
    """Write `out` (Markdown) and beside it pictures/results_*.png.

    Raises:
        DatasetError: the runs do not belong to one comparison.
    """
    entries = gather(runs)
    pictures = {}
    for metric in _main_metrics(runs):
        name = f"results_{metric.task}.png"
        points = [
            (e.method, e.macs, e.cells[metric.key].mean) for e in entries if metric.key in e.cells
        ]
        plot_results(metric.title, points, out.parent / "pictures" / name)
        pictures[metric] = name
    text = page(runs, [f"pictures/{name}" for name in pictures.values()])
    write_text(out, text, make_folder=True)


def gather(runs: Sequence[RunResult]) -> list[Entry]:
    """One entry a method and budget, methods in the order of `TITLES`, budgets falling.

    Raises:
        DatasetError: two runs were made with different settings.
    """
    _require_one_comparison(runs)
    groups: dict[tuple[str, float], list[RunResult]] = {}
    for run in runs:
        groups.setdefault((run.method, run.budget), []).append(run)
    full = groups.get((FULL, 1.0), [])
    baseline = {key: cell.mean for key, cell in _cells(full).items()}
    order = list(TITLES)
    entries = []
    for (method, budget), group in groups.items():
        cells = _cells(group)
        ordered = tuple(sorted(group, key=lambda run: run.seed))
        entries.append(Entry(method, budget, ordered, cells, _relative_loss(cells, baseline)))
    return sorted(entries, key=lambda entry: (order.index(entry.method), -entry.budget))


def page(runs: Sequence[RunResult], pictures: Sequence[str]) -> str:
    """The page as Markdown.

    Args:
        pictures: their paths as seen from the page.

    Raises:
        DatasetError: see `gather`.
    """
    entries = gather(runs)
    budgets = sorted({entry.budget for entry in entries}, reverse=True)
    parts = [_introduction(runs)]
    parts += [f"![score over multiply-adds]({path})" for path in pictures]
    for budget in budgets:
        here = [entry for entry in entries if entry.budget == budget]
        parts.append(f"## Budget {budget:g}\n\n{_table(here, _metrics(runs))}")
    parts.append("## Where ours is not the best\n\n" + _not_best(entries, runs))
    parts.append("## Milliseconds\n\n" + _timing(entries))
    return "\n\n".join(parts) + "\n"


def _introduction(runs: Sequence[RunResult]) -> str:
    settings = runs[0].settings
    seeds = sorted({run.seed for run in runs})
    width, height = settings["size"]
    return f"""# Results: ours beside other ways to spend less

Made by `pag_ros results` from the runs that `pag_ros compare` stored; do not edit.

Every method starts from the same weights and is fine-tuned in the same way:
{settings["iterations"]} iterations of {settings["batch"]} pictures of {width}x{height}, learning
rate {settings["learning_rate"]:g}, {settings["train_frames"]} frames to train on. Scores are those
of {settings["validation_frames"]} frames held out. Seeds: {", ".join(map(str, seeds))};
numbers are their mean ± standard deviation.

- A budget is the share of the gated blocks' multiply-adds; *spent* is what was really spent. For a
  smaller input it is the share that would make the full-size network as cheap.
- *multiply-adds* are those of the whole network for one image, gates and interpolation included;
  in parentheses the 5th and 95th percentile where images differ.
- *loss* is how much worse than the same network with everything computed, in percent of its score:
  the mean over depth δ, normals median and labels mIoU. Negative is better.
- **Bold** is the best of a column. † spends over {100 * _EVEN:g} % more multiply-adds than ours at
  this budget, ‡ over {100 * _EVEN:g} % less.
- Layers skipped per image and pixels that halt share their budget over a batch of images, which
  frames that come one by one cannot; that favours them."""


def _table(entries: Sequence[Entry], metrics: Sequence[RunMetric]) -> str:
    best = {metric.key: _best(entries, metric) for metric in metrics}
    head = ["method", "spent", "multiply-adds, M", "ms", *(_column(m) for m in metrics), "loss, %"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    ours = next((entry for entry in entries if entry.method == OURS), None)
    for entry in entries:
        cells = [
            _shown(entry.cells.get(m.key), m, bold=entry.method == best[m.key]) for m in metrics
        ]
        loss = "" if entry.relative_loss is None else f"{100 * entry.relative_loss:.1f}"
        ms = "" if entry.milliseconds is None else f"{entry.milliseconds:.1f}"
        name = TITLES[entry.method] + _mark(entry, ours)
        lines.append(_row([name, f"{entry.realised_budget:.3f}", _macs(entry), ms, *cells, loss]))
    return "\n".join(lines)


def _not_best(entries: Sequence[Entry], runs: Sequence[RunResult]) -> str:
    every_ours = [entry for entry in entries if entry.method == OURS]
    if not every_ours:
        return "Ours was not run."
    lines = []
    for ours in every_ours:
        rivals = [e for e in entries if e.budget == ours.budget and e.method not in (OURS, FULL)]
        for metric in _metrics(runs):
            better = [e for e in rivals if _beats(e, ours, metric)]
            better.sort(key=lambda e: e.cells[metric.key].mean, reverse=metric.higher_is_better)
            if better:
                own = _number(ours.cells[metric.key].mean, metric)
                texts = "; ".join(_how_good(rival, ours, metric) for rival in better)
                lines.append(f"- {metric.title}, budget {ours.budget:g}: ours {own}; {texts}.")
    if not lines:
        return "Nowhere in these runs."
    if any(len(entry.runs) < 2 for entry in entries):
        lines.insert(0, "Where a method has one seed only, its spread is unknown.\n")
    return "\n".join(lines)


def _how_good(rival: Entry, ours: Entry, metric: RunMetric) -> str:
    one, other = rival.cells[metric.key], ours.cells[metric.key]
    text = f"{TITLES[rival.method]}{_mark(rival, ours)} {_number(one.mean, metric)}"
    if one.spread is None or other.spread is None:
        return text
    within = abs(one.mean - other.mean) <= one.spread + other.spread
    return f"{text} (within the spread over seeds)" if within else text


def _timing(entries: Sequence[Entry]) -> str:
    notes: dict[str, list[str]] = {}
    for entry in entries:
        for note in sorted({run.timing for run in entry.runs} - {""}) or ["not measured"]:
            titles = notes.setdefault(note, [])
            if TITLES[entry.method] not in titles:
                titles.append(TITLES[entry.method])
    return "\n".join(f"- {'; '.join(titles)}: {note}." for note, titles in notes.items())


def _require_one_comparison(runs: Sequence[RunResult]) -> None:
    if not runs:
        raise DatasetError("no results; make them with `pag_ros compare`")
    for run in runs:
        for name in ("init_sha256", "size", "iterations", "batch", "learning_rate",
                     "train_frames", "validation_frames"):  # fmt: skip
            if name not in run.settings:
                raise DatasetError(f"{run.file_name}: its settings lack {name!r}; compare again")
            if run.settings[name] != runs[0].settings[name]:
                raise DatasetError(
                    f"{run.file_name}: made with another {name} than {runs[0].file_name}; "
                    "keep comparisons in folders of their own"
                )


def _cells(runs: Sequence[RunResult]) -> dict[str, Cell]:
    cells = {}
    for metric in METRICS:
        values = [run.scores[metric.key] for run in runs if metric.key in run.scores]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            cells[metric.key] = Cell(statistics.fmean(values), spread)
    return cells


def _relative_loss(cells: dict[str, Cell], full: dict[str, float]) -> float | None:
    losses = []
    for metric in _firsts(METRICS):
        if metric.key in cells and full.get(metric.key):
            change = cells[metric.key].mean / full[metric.key] - 1.0
            losses.append(-change if metric.higher_is_better else change)
    return statistics.fmean(losses) if losses else None


def _metrics(runs: Sequence[RunResult]) -> list[RunMetric]:
    return [m for m in METRICS if any(m.key in run.scores for run in runs)]


def _main_metrics(runs: Sequence[RunResult]) -> list[RunMetric]:
    return _firsts(_metrics(runs))


def _firsts(metrics: Sequence[RunMetric]) -> list[RunMetric]:
    """The first metric of each task."""
    tasks: dict[str, RunMetric] = {}
    for metric in metrics:
        tasks.setdefault(metric.task, metric)
    return list(tasks.values())


def _best(entries: Sequence[Entry], metric: RunMetric) -> str | None:
    rivals = [e for e in entries if metric.key in e.cells and e.method != FULL]
    if len(rivals) < 2:
        return None
    choose = max if metric.higher_is_better else min
    return choose(rivals, key=lambda e: e.cells[metric.key].mean).method


def _beats(rival: Entry, ours: Entry, metric: RunMetric) -> bool:
    if metric.key not in rival.cells or metric.key not in ours.cells:
        return False
    difference = rival.cells[metric.key].mean - ours.cells[metric.key].mean
    return difference > 0 if metric.higher_is_better else difference < 0


def _mark(entry: Entry, ours: Entry | None) -> str:
    if ours is None or entry.macs <= 0:
        return ""
    ratio = entry.macs / ours.macs
    return " †" if ratio > 1 + _EVEN else " ‡" if ratio < 1 - _EVEN else ""


def _macs(entry: Entry) -> str:
    low = statistics.fmean(run.macs["p5"] for run in entry.runs)
    high = statistics.fmean(run.macs["p95"] for run in entry.runs)
    text = f"{entry.macs / 1e6:.1f}"
    return text if low == high else f"{text} ({low / 1e6:.0f}-{high / 1e6:.0f})"


def _shown(cell: Cell | None, metric: RunMetric, bold: bool) -> str:
    if cell is None:
        return ""
    text = _number(cell.mean, metric)
    if cell.spread is not None:
        text += f" ± {_number(cell.spread, metric)}"
    return f"**{text}**" if bold else text


def _number(value: float, metric: RunMetric) -> str:
    return f"{value:.2f}" if metric.title.endswith("°") else f"{value:.4f}"


def _column(metric: RunMetric) -> str:
    return f"{metric.title} {'↑' if metric.higher_is_better else '↓'}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
