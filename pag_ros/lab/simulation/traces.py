"""How slow a machine is over time: synthetic loads by seed, and recorded ones.

Controllers are tuned on `TUNING` and reported on `HELD_OUT`: other seeds, levels and periods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.checks import is_number
from pag_ros.errors import ParameterError

Values = NDArray[np.float64]

STEP_S = 0.001
"""Time between two values of a trace."""

MAX_VALUES = 10_000_000


@dataclass(frozen=True)
class Trace:
    """One run of a machine.

    Attributes:
        name: kind of load.
        slowdown: factor on every duration, one value each `STEP_S`.
        rises: seconds at which the load rises at once.
        seed: of the noise of the frames.
    """

    name: str
    slowdown: tuple[float, ...]
    rises: tuple[float, ...]
    seed: int

    def at(self, seconds: float) -> float:
        """The factor at a time; the last one after the end."""
        return self.slowdown[min(int(seconds / STEP_S), len(self.slowdown) - 1)]


@dataclass(frozen=True)
class LoadSet:
    """Parameters and seeds of synthetic loads.

    Attributes:
        seeds: one trace of each kind for each of them.
        step: rise of `steps`, as a factor; it comes every `step_every_s` and lasts half of that.
        throttled: last level of `staircase`, reached in `stairs` equal steps.
        bursts_per_s, burst: of `bursts`; how often, and the strongest factor.
        ramp_s: time of `ramp` from idle to `step` and back.
    """

    seeds: tuple[int, ...]
    step: float
    step_every_s: float
    throttled: float
    stairs: int
    bursts_per_s: float
    burst: float
    ramp_s: float


TUNING = LoadSet((101, 102, 103, 104, 105), 1.5, 14.0, 1.5, 5, 0.25, 1.7, 20.0)
HELD_OUT = LoadSet((1, 2, 3, 4, 5), 1.6, 20.0, 1.6, 6, 0.2, 1.8, 15.0)


def make_trace(kind: str, loads: LoadSet, seed: int, seconds: float) -> Trace:
    """A synthetic trace.

    Args:
        kind: one of `KINDS`.
        seconds: its length.

    Raises:
        ParameterError: no such kind.
    """
    if kind not in KINDS:
        raise ParameterError(f"trace must be one of {', '.join(KINDS)}, got {kind}")
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    time_s = np.arange(math.ceil(seconds / STEP_S)) * STEP_S
    slowdown = KINDS[kind](time_s, loads, rng)
    return Trace(kind, tuple(slowdown.tolist()), _rises(slowdown), seed)


def recorded_trace(name: str, data: object) -> Trace:
    """A trace from a file's JSON: {"step_s": .01, "slowdown": [1.0, 1.2, ...]}.

    Raises:
        ParameterError: it is something else; the message says what was expected.
    """
    expected = '{"step_s": seconds between values, "slowdown": [factors above 0]}'
    if not isinstance(data, Mapping):
        raise ParameterError(f"{name}: expected {expected}")
    step_s, values = data.get("step_s"), data.get("slowdown")
    if not is_number(step_s) or not STEP_S <= step_s <= 10.0 or not isinstance(values, Sequence):
        raise ParameterError(f"{name}: expected {expected}, step_s {STEP_S} to 10")
    if not values or not all(is_number(value) and 0.01 <= value <= 1000.0 for value in values):
        raise ParameterError(f"{name}: slowdown must be a list of factors from .01 to 1000")
    repeat = round(step_s / STEP_S)
    if repeat * len(values) > MAX_VALUES:
        raise ParameterError(f"{name}: longer than {MAX_VALUES * STEP_S:.0f} s")
    slowdown = np.repeat(np.asarray(values, np.float64), repeat)
    return Trace(name, tuple(slowdown.tolist()), _rises(slowdown), seed=0)


def _quiet(time_s: Values, loads: LoadSet, rng: np.random.Generator) -> Values:
    """An idle machine whose speed drifts by a percent or two."""
    phase = rng.uniform(0.0, 2.0 * math.pi)
    return 1.0 + 0.015 * np.sin(2.0 * math.pi * time_s / 40.0 + phase)


def _steps(time_s: Values, loads: LoadSet, rng: np.random.Generator) -> Values:
    """A load that comes and goes."""
    offset = rng.uniform(0.0, loads.step_every_s / 2.0)
    busy = (time_s + offset) % loads.step_every_s >= loads.step_every_s / 2.0
    return np.where(busy, loads.step, 1.0)


def _staircase(time_s: Values, loads: LoadSet, rng: np.random.Generator) -> Values:
    """A machine that throttles step by step."""
    share = time_s / time_s[-1] if time_s[-1] > 0.0 else time_s
    stair = np.minimum(np.floor(share * (loads.stairs + 1)), loads.stairs)
    return 1.0 + (loads.throttled - 1.0) * stair / loads.stairs


def _bursts(time_s: Values, loads: LoadSet, rng: np.random.Generator) -> Values:
    """Short loads at random times, .1 to 2 s long."""
    slowdown = np.ones_like(time_s)
    for _ in range(rng.poisson(loads.bursts_per_s * time_s[-1])):
        begin = rng.integers(len(time_s))
        end = begin + int(rng.uniform(0.1, 2.0) / STEP_S)
        slowdown[begin:end] = np.maximum(slowdown[begin:end], rng.uniform(1.2, loads.burst))
    return slowdown


def _ramp(time_s: Values, loads: LoadSet, rng: np.random.Generator) -> Values:
    """A load that grows and shrinks evenly."""
    position = (time_s / loads.ramp_s + rng.uniform()) % 2.0
    return 1.0 + (loads.step - 1.0) * (1.0 - np.abs(position - 1.0))


KINDS: Mapping[str, Callable[..., Values]] = {
    "quiet": _quiet,
    "steps": _steps,
    "staircase": _staircase,
    "bursts": _bursts,
    "ramp": _ramp,
}


def _rises(slowdown: Values) -> tuple[float, ...]:
    jumps = np.flatnonzero(np.diff(slowdown) > 0.05 * slowdown[:-1]) + 1
    return tuple((jumps * STEP_S).tolist())
