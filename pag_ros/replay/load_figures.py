"""Figures of the node under load: misses with their interval, settling, latency and density."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pag_ros.evaluation.misses import SETTLED_FRAMES, frames_to_settle, wilson_interval
from pag_ros.evaluation.results import FrameRecord, percentiles
from pag_ros.replay.live_log import PARTS
from pag_ros.replay.load_injector import PATTERNS, PHASE_S


class Setting(NamedTuple):
    """How a node was run: its `budget_mode` and `budget`, under which pattern of load.

    Attributes:
        camera: whose frames are meant; empty for the only one.
    """

    mode: str
    budget: float
    pattern: str
    camera: str = ""

    def __str__(self) -> str:
        text = self.mode if self.mode == "deadline" else f"{self.mode} {self.budget:g}"
        return f"{text} {self.camera}".rstrip()

    def same_load(self, other: Setting) -> bool:
        """Whether frames of one may be held against those of the other."""
        return (self.pattern, self.camera) == (other.pattern, other.camera)


class PartTime(NamedTuple):
    """How long a part of the way from the stamp to the last arrival takes, milliseconds."""

    mean: float
    p95: float


@dataclass
class Blocks:
    """What became of the frames under one setting.

    Attributes:
        blocks: the frames of every block; their times run from its begin.
        outcomes: how the frames ended, by the node's own books.
    """

    blocks: list[tuple[FrameRecord, ...]] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def frames(self) -> list[FrameRecord]:
        """The frames of all blocks."""
        return [record for block in self.blocks for record in block]


@dataclass(frozen=True)
class Misses:
    """A share of frames that were late, dropped or never arrived, with its 95 % interval."""

    frames: int
    rate: float
    low: float
    high: float

    @classmethod
    def of(cls, missed: Sequence[bool]) -> Misses | None:
        """The share of frames that were missed; None if there are no frames."""
        if not missed:
            return None
        hits, frames = sum(missed), len(missed)
        return cls(frames, hits / frames, *wilson_interval(hits, frames))


@dataclass(frozen=True)
class LoadRow:
    """One way to set the budget, under one pattern of load.

    Attributes:
        setting: how the node was run, and under which load.
        misses: as the listener sees them, by the arrival of a frame's last output.
        node_misses: the same by the node's own books, when it had published.
        feasible: as `misses`, in those seconds of the pattern alone in which the smallest fixed
            budget of the run lost nothing: there the deadline could be met. None without such
            seconds.
        settle_mean, settle_max: feasible frames from a rise of the load to the first of ten in a
            row in time; None for a pattern without rises.
        density_mean: mean density of the frames that arrived.
        p50_ms, p95_ms, p99_ms: from the image's stamp to the arrival of the last output.
        p99_over_deadline: the last of these by the deadline.
        best_fixed: the largest fixed budget of the run that missed no more; None for fixed ones.
        parts: name -> duration, for the frames that arrived; see `pag_ros.replay.live_log.PARTS`.
        outcomes: how the frames ended, by the node's own books.
    """

    setting: Setting
    misses: Misses
    node_misses: Misses
    feasible: Misses | None
    settle_mean: float | None
    settle_max: int | None
    density_mean: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_over_deadline: float | None
    best_fixed: float | None
    parts: Mapping[str, PartTime]
    outcomes: Mapping[str, int]


def load_rows(runs: Mapping[Setting, Blocks], deadline_ms: float) -> list[LoadRow]:
    """The figures of a run, a row for each setting.

    Raises:
        ValueError: a setting has no frames.
    """
    missed = {
        setting: [[is_missed(r, deadline_ms) for r in block] for block in blocks.blocks]
        for setting, blocks in runs.items()
    }
    rows = []
    for setting, blocks in runs.items():
        feasible = _feasible_seconds(runs, missed, setting)
        rows.append(_row(setting, blocks, missed, feasible, deadline_ms))
    return rows


def row_to_json(row: LoadRow) -> dict[str, object]:
    """A row as plain JSON values."""
    feasible = row.feasible
    return {
        "mode": row.setting.mode,
        "budget": row.setting.budget,
        "pattern": row.setting.pattern,
        "camera": row.setting.camera,
        "frames": row.misses.frames,
        "miss_rate": row.misses.rate,
        "miss_low": row.misses.low,
        "miss_high": row.misses.high,
        "node_miss_rate": row.node_misses.rate,
        "feasible_frames": feasible.frames if feasible else 0,
        "feasible_miss_rate": feasible and feasible.rate,
        "feasible_miss_low": feasible and feasible.low,
        "feasible_miss_high": feasible and feasible.high,
        "settle_mean": row.settle_mean,
        "settle_max": row.settle_max,
        "density_mean": row.density_mean,
        "best_fixed": row.best_fixed,
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "p99_ms": row.p99_ms,
        "p99_over_deadline": row.p99_over_deadline,
        "parts_ms": {name: part._asdict() for name, part in row.parts.items()},
        "outcomes": dict(row.outcomes),
    }


def is_missed(record: FrameRecord, deadline_ms: float) -> bool:
    """Whether a frame came late or not at all."""
    return record.latency_ms is None or record.latency_ms > deadline_ms


_Missed = Mapping[Setting, list[list[bool]]]
"""Setting -> whether each frame of each block was missed."""


def _row(
    setting: Setting, blocks: Blocks, missed: _Missed, feasible: frozenset[int], deadline_ms: float
) -> LoadRow:
    records = blocks.frames
    late = [hit for block in missed[setting] for hit in block]
    misses = Misses.of(late)
    node_misses = Misses.of([r.density is None or bool(r.late) for r in records])
    if misses is None or node_misses is None:
        raise ValueError(f"{setting} under {setting.pattern}: no frames")
    settling = list(_settling(setting.pattern, blocks.blocks, missed[setting], feasible))
    latency = [r.latency_ms for r in records if r.latency_ms is not None]
    density = [r.density for r in records if r.density is not None]
    figures = percentiles(np.array(latency))
    p99 = figures.get("p99")
    return LoadRow(
        setting=setting,
        misses=misses,
        node_misses=node_misses,
        feasible=Misses.of(
            [hit for r, hit in zip(records, late, strict=True) if int(r.time_s) in feasible]
        ),
        settle_mean=float(np.mean(settling)) if settling else None,
        settle_max=max(settling) if settling else None,
        density_mean=float(np.mean(density)) if density else None,
        p50_ms=figures.get("p50"),
        p95_ms=figures.get("p95"),
        p99_ms=p99,
        p99_over_deadline=None if p99 is None else p99 / deadline_ms,
        best_fixed=_best_fixed(setting, missed, misses.high),
        parts=_parts(records),
        outcomes=dict(blocks.outcomes),
    )


def _parts(records: Sequence[FrameRecord]) -> dict[str, PartTime]:
    arrived = [r.parts_ms for r in records if r.latency_ms is not None]
    took = {name: [parts[name] for parts in arrived if name in parts] for name in PARTS}
    return {
        name: PartTime(float(np.mean(values)), float(np.percentile(values, 95)))
        for name, values in took.items()
        if values
    }


def _feasible_seconds(
    runs: Mapping[Setting, Blocks], missed: _Missed, setting: Setting
) -> frozenset[int]:
    """Seconds of the pattern in which the smallest fixed budget lost no frame in any block."""
    fixed = [s for s in runs if s.same_load(setting) and s.mode == "fixed"]
    if not fixed:
        return frozenset()
    floor = min(fixed, key=lambda setting: setting.budget)
    pairs = [
        (int(record.time_s), hit)
        for block, hits in zip(runs[floor].blocks, missed[floor], strict=True)
        for record, hit in zip(block, hits, strict=True)
    ]
    return frozenset(second for second, _ in pairs) - {second for second, hit in pairs if hit}


def _settling(
    pattern: str,
    blocks: Sequence[Sequence[FrameRecord]],
    missed: Sequence[Sequence[bool]],
    feasible: frozenset[int],
) -> Iterator[int]:
    """Frames until settled after every rise of the load."""
    for block, hits in zip(blocks, missed, strict=True):
        times = np.array([record.time_s for record in block])
        counted = np.array([int(second) in feasible for second in times], bool)
        for rise in rises(pattern, float(times[-1])):
            phase = (times >= rise) & (times < rise + PHASE_S) & counted
            if phase.sum() >= 2 * SETTLED_FRAMES:
                yield frames_to_settle(np.asarray(hits)[phase])


def rises(pattern: str, until_s: float) -> list[float]:
    """When the load of a pattern of steps rises, seconds since its beginning."""
    if pattern not in ("steps", "square"):
        return []
    duty = PATTERNS[pattern]
    edges = [PHASE_S * number for number in range(1, int(until_s / PHASE_S) + 1)]
    return [edge for edge in edges if duty(edge) > duty(edge - PHASE_S)]


def _best_fixed(setting: Setting, missed: _Missed, miss_rate: float) -> float | None:
    """The largest fixed budget under the same load that missed no larger share."""
    if setting.mode == "fixed":
        return None
    budgets = [
        other.budget
        for other, blocks in missed.items()
        if other.same_load(setting)
        and other.mode == "fixed"
        and np.mean([hit for block in blocks for hit in block]) <= miss_rate
    ]
    return max(budgets, default=None)
