"""Figures of a controller on a trace: misses with their interval, settling, density, latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pag_ros.evaluation.misses import SETTLED_FRAMES, frames_to_settle, wilson_interval
from pag_ros.lab.simulation.machine import PERIOD_S, Played

_FIRST_FRAMES = 60
"""Left out of all figures: controllers start without knowledge of the machine."""


@dataclass(frozen=True)
class Row:
    """Figures of one controller on all traces of one kind, the first two seconds left out.

    Attributes:
        miss_rate: share of frames late or dropped; `miss_low`, `miss_high` its 95 % interval.
        settle_mean, settle_max: frames from a rise in load to the first of ten in a row in time;
            None without a rise.
        density_mean: share of the gated pixels computed, dropped frames as zero.
        density_deviation: its standard deviation.
        p99_over_deadline, p999_over_deadline: percentiles of the latency of frames that were not
            dropped, by the deadline.
        model_error_median, model_error_p95: relative error of the expected durations.
    """

    controller: str
    trace: str
    frames: int
    miss_rate: float
    miss_low: float
    miss_high: float
    settle_mean: float | None
    settle_max: int | None
    density_mean: float
    density_deviation: float
    p99_over_deadline: float
    p999_over_deadline: float
    model_error_median: float
    model_error_p95: float


def score(controller: str, runs: Sequence[Played]) -> Row:
    """Figures over the runs of a controller on traces of one kind."""
    latency = np.concatenate([run.latency_s[_FIRST_FRAMES:] for run in runs])
    density = np.concatenate([run.density[_FIRST_FRAMES:] for run in runs])
    error = np.concatenate([run.error[_FIRST_FRAMES:] for run in runs])
    error = error[np.isfinite(error)]
    misses = sum(sum(run.missed[_FIRST_FRAMES:]) for run in runs)
    low, high = wilson_interval(misses, len(latency))
    settle = [frames for run in runs for frames in _settling(run)]
    finished = latency[np.isfinite(latency)] / runs[0].deadline_s
    return Row(
        controller=controller,
        trace=runs[0].trace.name,
        frames=len(latency),
        miss_rate=misses / len(latency),
        miss_low=low,
        miss_high=high,
        settle_mean=float(np.mean(settle)) if settle else None,
        settle_max=max(settle) if settle else None,
        density_mean=float(density.mean()),
        density_deviation=float(density.std()),
        p99_over_deadline=_percentile(finished, 99.0),
        p999_over_deadline=_percentile(finished, 99.9),
        model_error_median=_percentile(error, 50.0),
        model_error_p95=_percentile(error, 95.0),
    )


def _settling(run: Played) -> list[int]:
    """Frames until settled, for each rise that leaves time for it before the next one."""
    missed = np.asarray(run.missed)
    rises = [round(seconds / PERIOD_S) for seconds in run.trace.rises]
    ends = [*rises, len(missed)][1:]
    settled = []
    for begin, end in zip(rises, ends, strict=True):
        if begin < _FIRST_FRAMES or end - begin < 2 * SETTLED_FRAMES:
            continue
        settled.append(frames_to_settle(missed[begin:end]))
    return settled


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else math.nan
