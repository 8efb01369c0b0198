"""Loads the machine on purpose: CPU hogs by duty cycle and a stream through memory."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import numpy as np

from pag_ros.runtime.child_processes import interrupts_held

SLOT_S = 0.01
"""A hog is busy for its duty of each slot."""

LEVELS = (0.0, 0.2, 0.4, 0.6)
PHASE_S = 5.0
"""How long a level of the patterns lasts."""

_STREAMED_BYTES = 64 << 20
_JOIN_S = 2.0


def duty_steps(seconds: float) -> float:
    """Up the levels and down again."""
    order = (*LEVELS, *LEVELS[-2:0:-1])
    return order[int(seconds / PHASE_S) % len(order)]


def duty_square(seconds: float) -> float:
    """Nothing and the highest level in turns."""
    return LEVELS[-1] if int(seconds / PHASE_S) % 2 else 0.0


def duty_ramp(seconds: float) -> float:
    """Evenly up to the highest level, and down."""
    position = seconds / (4.0 * PHASE_S) % 2.0
    return LEVELS[-1] * (1.0 - abs(position - 1.0))


def duty_random(seconds: float) -> float:
    """A level drawn anew for every second; the same ones in each run."""
    rng = np.random.default_rng(int(seconds))
    return float(rng.choice(LEVELS))


PATTERNS: Mapping[str, Callable[[float], float]] = {
    "steps": duty_steps,
    "square": duty_square,
    "ramp": duty_ramp,
    "random": duty_random,
}
"""Name -> duty of every hog, 0 to 1, by the seconds since the beginning."""


class LoadInjector:
    """Hogs that run from entry to exit, and end with this process whatever happens to it.

    Args:
        pattern: one of `PATTERNS`, or "none".
        hogs: processes that take CPU time.
        memory: whether one more process streams through memory at the same duty.
        nice: of the hogs; below 0 they come before the node, where that is permitted.
    """

    def __init__(self, pattern: str, hogs: int, memory: bool = False, nice: int = 0) -> None:
        work = [_spin] * hogs + [_stream] * memory
        context = multiprocessing.get_context("spawn")
        self._begin = context.Value("d", math.inf)
        self._processes = [
            context.Process(target=_hog, args=(job, pattern, self._begin, nice), daemon=True)
            for job in (work if pattern != "none" else [])
        ]

    def __enter__(self) -> LoadInjector:
        with interrupts_held():
            for process in self._processes:
                process.start()
        return self

    def begin(self) -> None:
        """The pattern's time runs from now on; until then there is no load."""
        self._begin.value = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_JOIN_S)
            process.kill()


def may_use_nice(nice: int) -> bool:
    """Whether this user may start processes of that niceness."""
    return nice >= 0 or os.geteuid() == 0


def _hog(job: Callable[[float], None], pattern: str, begin: float, nice: int) -> None:
    """Work for the pattern's share of each slot, until the parent is gone."""
    parent = os.getppid()
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    while os.getppid() == parent:
        elapsed = time.monotonic() - begin.value  # type: ignore[attr-defined]
        duty = PATTERNS[pattern](elapsed) if elapsed >= 0.0 else 0.0
        if duty > 0.0:
            job(time.monotonic() + duty * SLOT_S)
        time.sleep((1.0 - duty) * SLOT_S)


def _spin(until: float) -> None:
    while time.monotonic() < until:
        pass


_buffers: list[np.ndarray] = []


def _stream(until: float) -> None:
    """Copy memory that no cache holds."""
    if not _buffers:
        _buffers.extend(np.ones(_STREAMED_BYTES // 16) for _ in range(2))
    source, target = _buffers
    step = 1 << 17
    while time.monotonic() < until:
        at = int(time.monotonic() * 1e6) % (len(source) - step)
        target[at : at + step] = source[at : at + step]
