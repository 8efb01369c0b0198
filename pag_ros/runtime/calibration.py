"""Measure how long each stage of a model takes on this machine, for how many kept pixels."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget import (
    Controller,
    LatencyTable,
    StageLatency,
    load_table,
    monotone_fit,
    save_table,
)
from pag_ros.runtime.machine_state import power_mode
from pag_ros.runtime.session import Session
from pag_ros.runtime.tensorrt.options import Say, say_on_stderr

GRID_STEP_PIXELS = 64
_QUICK_SHARES = (0.0, 0.5, 1.0)
_QUICK_ROUNDS = 3
_FULL_ROUNDS = 15


def calibrate(session: Session, progress: Callable[[int, int], None] | None = None) -> LatencyTable:
    """Measure a session on a grid of about `GRID_STEP_PIXELS`; takes some seconds.

    Args:
        progress: called with the runs done and the runs in all.
    """
    largest = max(block.pixels for block in session.manifest.blocks)
    shares = np.linspace(0.0, 1.0, 1 + max(2, round(largest / GRID_STEP_PIXELS)))
    return _measure(session, tuple(shares), _FULL_ROUNDS, progress)


def calibrate_quickly(session: Session) -> LatencyTable:
    """A coarse table in a fraction of a second, for a first start; also warms the session up."""
    return _measure(session, _QUICK_SHARES, _QUICK_ROUNDS, None)


def table_for(session: Session, say: Say = say_on_stderr) -> LatencyTable:
    """The table that `pag_ros calibrate` left for this session, else a quickly measured one.

    Args:
        say: told in a sentence if a table that is there cannot be used.
    """
    stored = load_table(latency_key(session), session.stages, say)
    return stored or calibrate_quickly(session)


def keep_learned(session: Session, controller: Controller) -> None:
    """Store what a controller has learned about a calibrated session for its next start.

    Only where `pag_ros calibrate` has left a table: one that was measured in passing is measured
    anew each time, which warms the session up as well. A cache that cannot be written is left as
    it is.
    """
    key = latency_key(session)
    stored = load_table(key, session.stages)
    if stored is not None and stored != controller.table:
        with suppress(OSError):
            save_table(controller.table, key)


def latency_key(session: Session) -> str:
    """Everything that a session's latency depends on."""
    return f"{session.manifest.sha256} | {session.backend} | {cpu_name()} | {power_mode()}"


def cpu_name() -> str:
    """The processor's name for people."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measure(
    session: Session,
    shares: Sequence[float],
    rounds: int,
    progress: Callable[[int, int], None] | None,
) -> LatencyTable:
    """Medians over rounds; each round visits all shares in an order of its own.

    So a machine that slows down while this runs affects all points alike.
    """
    manifest = session.manifest
    order = np.random.default_rng(0)
    image = order.integers(0, 256, (manifest.height, manifest.width, 3), np.uint8)
    focal_px = sum(manifest.focal_range) / 2.0
    keeps = [tuple(round(share * b.pixels) for b in manifest.blocks) for share in shares]
    session.infer(image, focal_px, keeps[-1])  # the first run allocates

    used = list(keeps)  # A GPU may not have every count: the table is of what was computed.
    seconds = np.empty((rounds, len(shares), len(session.stages)))
    for turn in range(rounds):
        for done, point in enumerate(order.permutation(len(shares))):
            prediction = session.infer(image, focal_px, keeps[point])
            seconds[turn, point] = prediction.stage_seconds
            used[point] = prediction.keep_used
            if progress is not None:
                progress(turn * len(shares) + done + 1, rounds * len(shares))
    return _table(session.stages, used, np.median(seconds, axis=0))


def _table(
    stages: tuple[str, ...], keeps: list[tuple[int, ...]], seconds: NDArray[np.float64]
) -> LatencyTable:
    """seconds [point, stage] -> a table; ungated stages take the median of all points."""

    def ungated(position: int) -> StageLatency:
        return StageLatency(stages[position], (0,), (float(np.median(seconds[:, position])),))

    blocks = []
    for block, name in enumerate(stages[1:-1]):
        measured = zip(keeps, seconds[:, block + 1].tolist(), strict=True)
        by_keep = {keep[block]: value for keep, value in measured}
        fitted = monotone_fit(list(by_keep.values()))
        blocks.append(StageLatency(name, tuple(by_keep), tuple(fitted.tolist())))
    return LatencyTable((ungated(0), *blocks, ungated(-1)))
