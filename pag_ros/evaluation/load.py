"""Figures of the node under load: misses with their interval, latency and density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pag_ros.budget.simulation import wilson_interval
from pag_ros.evaluation.results import FrameRecord

BEYOND_SAVING = 0.02
"""A late frame of less density than this would have been late with any budget."""


@dataclass(frozen=True)
class LoadRow:
    """One way to set the budget, under one pattern of load.

    Attributes:
        mode, budget: parameters of the node.
        pattern: of the load.
        frames: sent.
        miss_rate: share that was late, dropped or never arrived; with its 95 % interval.
        saveable_miss_rate: the same without frames that would have been late with any budget.
        density_mean: of the frames that arrived.
        p50_ms, p95_ms, p99_ms: from the image's stamp to the arrival of the last output.
        p99_over_deadline: the last of these by the deadline.
        outcomes: how the frames ended, by the node's own books.
    """

    mode: str
    budget: float
    pattern: str
    frames: int
    miss_rate: float
    miss_low: float
    miss_high: float
    saveable_miss_rate: float
    density_mean: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p99_over_deadline: float | None
    outcomes: Mapping[str, int]


def load_row(
    mode: str,
    budget: float,
    pattern: str,
    records: Sequence[FrameRecord],
    deadline_ms: float,
    outcomes: Mapping[str, int],
) -> LoadRow:
    """The figures of some blocks of frames.

    Raises:
        ValueError: there are no frames.
    """
    missed = [r for r in records if r.latency_ms is None or r.latency_ms > deadline_ms]
    lost = [r for r in missed if r.density is not None and r.density < BEYOND_SAVING]
    low, high = wilson_interval(len(missed), len(records))
    latency = [r.latency_ms for r in records if r.latency_ms is not None]
    density = [r.density for r in records if r.density is not None]
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)) if latency else (None, None, None)
    return LoadRow(
        mode=mode,
        budget=budget,
        pattern=pattern,
        frames=len(records),
        miss_rate=len(missed) / len(records),
        miss_low=low,
        miss_high=high,
        saveable_miss_rate=(len(missed) - len(lost)) / max(1, len(records) - len(lost)),
        density_mean=float(np.mean(density)) if density else None,
        p50_ms=p50 if p50 is None else float(p50),
        p95_ms=p95 if p95 is None else float(p95),
        p99_ms=p99 if p99 is None else float(p99),
        p99_over_deadline=p99 if p99 is None else float(p99) / deadline_ms,
        outcomes=dict(outcomes),
    )
