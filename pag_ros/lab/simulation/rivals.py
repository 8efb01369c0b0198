"""What our controller is held against: controllers of the literature on the same knob.

Each chooses a budget before a frame, with the same latency table and the same pixels for a budget;
only ours trims inside the frame. Their constants come from `pag_ros bench deadline --tune`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pag_ros.budget.controller import Controller, Plan
from pag_ros.budget.latency import LatencyTable
from pag_ros.manifest import Manifest

if TYPE_CHECKING:
    from pag_ros.lab.simulation.machine import Stages

Trial = Callable[[Plan], "Stages"]
"""What the coming frame would take with a plan; for a clairvoyant only."""

_GRID = 200
_FLOOR = 0.1


class Planning(Protocol):
    """A controller in the simulator."""

    trims: bool
    """Whether a late frame trims its remaining stages."""
    drops: bool
    """Whether frames that come too late are dropped."""

    @property
    def floor_s(self) -> float:
        """What the network is expected to take at the smallest budget."""
        ...

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        """The plan of the next frame, or None to skip it."""
        ...

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        """Learn from a frame."""
        ...


class Ours:
    """The controller of pag_ros, with or without trimming inside the frame."""

    def __init__(self, manifest: Manifest, table: LatencyTable, trims: bool = True) -> None:
        self.trims, self.drops = trims, True
        self._controller = Controller(manifest, table)

    @property
    def floor_s(self) -> float:
        return self._controller.floor_seconds

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        return self._controller.plan(time_left_s, may_skip)

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        self._controller.observe(plan, keep_used, stage_seconds)


class _Rival(abc.ABC):
    """A budget, and what it takes on the idle machine."""

    trims = drops = False

    def __init__(self, manifest: Manifest, table: LatencyTable) -> None:
        budgets = np.linspace(0.0, 1.0, _GRID + 1)
        keeps = [manifest.keep_for(float(budget)) for budget in budgets]
        rows = [table.stage_seconds(keep) for keep in keeps]
        self._plans = [
            Plan(float(budget), keep, row, 1.0, timed=True)
            for budget, keep, row in zip(budgets, keeps, rows, strict=True)
        ]
        self._totals = np.maximum.accumulate([sum(row) for row in rows])

    @property
    def floor_s(self) -> float:
        """What the smallest budget takes on the idle machine."""
        return sum(self.plan_for(_FLOOR).stage_seconds)

    def plan_for(self, budget: float) -> Plan:
        return self._plans[round(_GRID * min(max(budget, _FLOOR), 1.0))]

    def largest_within(self, seconds: float) -> Plan:
        """The largest budget that takes at most so long on the idle machine."""
        at = int(np.searchsorted(self._totals, seconds, side="right")) - 1
        return self._plans[max(at, round(_GRID * _FLOOR))]

    @abc.abstractmethod
    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        """See `Planning`."""

    def observe(  # noqa: B027 - some have nothing to learn
        self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]
    ) -> None:
        """See `Planning`; a rival without memory has nothing to do."""


class Fixed(_Rival):
    """Always the same budget: the largest that met the deadline on quiet tuning traces."""

    def __init__(self, manifest: Manifest, table: LatencyTable, budget: float = 1.0) -> None:
        super().__init__(manifest, table)
        self._budget = budget

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        return self.plan_for(self._budget)


class ProportionalIntegral(_Rival):
    """PI on the share of the time left that the last frame left unused, with anti-windup."""

    def __init__(
        self,
        manifest: Manifest,
        table: LatencyTable,
        proportional: float = 0.2,
        integral: float = 1.0,
        target: float = 0.93,
    ) -> None:
        super().__init__(manifest, table)
        self._gains = (proportional, integral)
        self._target = target
        self._sum, self._error, self._left = 0.5, 0.0, 1.0

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        self._left = max(time_left_s, 1e-3)
        return self.plan_for(self._sum + self._gains[0] * self._error)

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        self._error = max(-2.0, self._target - sum(stage_seconds) / self._left)
        self._sum = min(max(self._sum + self._gains[1] * self._error, 0.0), 1.0)


class AdditiveIncrease(_Rival):
    """AIMD: a little more after a frame in time, a share of it after a late one."""

    def __init__(
        self,
        manifest: Manifest,
        table: LatencyTable,
        increase: float = 0.01,
        decrease: float = 0.85,
        limit: float = 0.95,
    ) -> None:
        super().__init__(manifest, table)
        self._increase, self._decrease, self._limit = increase, decrease, limit
        self._budget, self._left = 0.5, 1.0

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        self._left = time_left_s
        return self.plan_for(self._budget)

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        late = sum(stage_seconds) > self._limit * self._left
        budget = self._budget * self._decrease if late else self._budget + self._increase
        self._budget = min(max(budget, _FLOOR), 1.0)


class Kalman(_Rival):
    """Slowdown and its variance by a Kalman filter with adaptive process noise.

    After ALERT (Wan et al., USENIX ATC 2020): the budget must fit at mean + `sigmas` deviations.
    """

    def __init__(
        self,
        manifest: Manifest,
        table: LatencyTable,
        sigmas: float = 4.0,
        forget: float = 0.0,
        measurement: float = 0.0003,
    ) -> None:
        super().__init__(manifest, table)
        self._sigmas, self._forget, self._measurement = sigmas, forget, measurement
        self._mean, self._variance, self._process, self._gain = 1.0, 0.1, 0.1, 0.5
        self._innovation = 0.0

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        deviation = math.sqrt(self._variance + self._measurement)
        return self.largest_within(time_left_s / (self._mean + self._sigmas * deviation))

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        pace = sum(stage_seconds) / sum(plan.stage_seconds)
        surprise = (self._gain * self._innovation) ** 2
        self._process = max(1e-5, self._forget * self._process + (1.0 - self._forget) * surprise)
        prior = (1.0 - self._gain) * self._variance + self._process
        self._gain = prior / (prior + self._measurement)
        self._innovation = pace - self._mean
        self._mean += self._gain * self._innovation
        self._variance = prior


class Oracle(_Rival):
    """Knows what the coming frame will meet, and takes the largest budget that is in time."""

    def plan(self, time_left_s: float, trial: Trial, may_skip: bool) -> Plan | None:
        low, high = round(_GRID * _FLOOR), _GRID
        while low < high:
            middle = (low + high + 1) // 2
            if sum(trial(self._plans[middle]).seconds) <= time_left_s:
                low = middle
            else:
                high = middle - 1
        return self._plans[low]


CONTROLLERS: dict[str, Callable[..., Planning]] = {
    "deadline": Ours,
    "deadline_untrimmed": lambda manifest, table: Ours(manifest, table, trims=False),
    "fixed": Fixed,
    "pi": ProportionalIntegral,
    "aimd": AdditiveIncrease,
    "kalman": Kalman,
    "oracle": Oracle,
}


TUNABLE: dict[str, dict[str, Sequence[float]]] = {
    "pi": {
        "proportional": (0.2, 0.5, 0.8),
        "integral": (0.1, 0.3, 0.6, 1.0),
        "target": (0.8, 0.85, 0.9, 0.93),
    },
    "aimd": {
        "increase": (0.002, 0.005, 0.01, 0.03),
        "decrease": (0.5, 0.7, 0.85),
        "limit": (0.9, 0.95, 0.98),
    },
    "kalman": {
        "sigmas": (2.0, 3.0, 4.0, 6.0),
        "forget": (0.0, 0.1, 0.3),
        "measurement": (0.0001, 0.0003, 0.001),
    },
}
"""Constants that are searched, of the rivals that have any."""


def make_controller(
    name: str, manifest: Manifest, table: LatencyTable, **constants: float
) -> Planning:
    """A new controller of that name.

    Args:
        constants: other ones than the tuned, by the name they have in its constructor.
    """
    return CONTROLLERS[name](manifest, table, **constants)
