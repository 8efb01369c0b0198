"""Fair timing on a machine that is never quite the same: everything takes turns, medians count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

_SETTLE_S = 0.004
"""Idle threads of one runtime spin for some milliseconds; the next one waits until they sleep."""
_WARM_UP = 2
_TIMED = 3

Progress = Callable[[], object]


def take_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, progress: Progress | None = None
) -> dict[str, float]:
    """Median seconds of one call of each run.

    In every round each of them is called some times in a row, the first calls untimed.

    Args:
        runs: name -> what to time.
        rounds: how often everything takes its turn.
        progress: called after every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(_SETTLE_S)
            for _ in range(_WARM_UP):
                run()
            for _ in range(_TIMED):
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
        if progress is not None:
            progress()
    return {name: float(np.median(values)) for name, values in seconds.items()}


def use_cpus(count: int) -> None:
    """Keep this process and the threads it starts from now on, on `count` of its CPUs."""
    with suppress(AttributeError, OSError):  # Not every system can.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
