"""The controller: the largest budget whose frame still ends in time.

It holds no clock and does no I/O: the same calls give the same plans, so a log can be replayed.
Latency comes from a table; how much slower the machine is right now, from one factor that follows
every frame.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget.latency import LatencyTable
from pag_ros.budget.refresh import TableRefresh
from pag_ros.budget.thresholds import Thresholds
from pag_ros.errors import ParameterError
from pag_ros.manifest import Manifest

MODES = ("deadline", "fixed", "adaptive")

_BUDGET_STEPS = 100
_SAFE_BUDGET = 0.5
_TRIAL_FRAMES = 30
_SANE_TIME_LEFT_S = 10.0
"""A frame further than this from its deadline means a clock has jumped."""

_RISE_PER_FRAME = 0.03
_RISE_WORTH_TAKING = 0.02

_OUTLIER = 0.10
_FALLS_BEFORE_TRUST = 3
_FALL_GAIN = 0.5
"""With .25 budgets rise no sooner, and expected durations are off for longer after a burst."""

_HOPELESS_BEYOND = 1.2
"""Times the time left: what is set aside for post-processing and publishing is seldom all needed,
and a frame that turns out late costs no more than one that was skipped."""

_MARGIN_STEP = 0.004
_MARGIN_MISS_RATE = 0.005
_MARGIN_RANGE = (0.02, 0.20)
_MARGIN_AT_START = 0.05
_MARGIN_FROZEN_ABOVE = 0.12


@dataclass(frozen=True)
class ControllerSettings:
    """What a user decides.

    Attributes:
        mode: "deadline": as much as fits before the deadline; "fixed": always `budget`;
            "adaptive": `budget` on average, less on easy scenes and more on hard ones, and never
            more than fits before the deadline.
        budget: the fixed budget, the largest one, or the average one; 0 to 1.
        budget_min: the smallest budget; a frame that would be late by far even so is skipped.

    Raises:
        ParameterError: a value outside what it may be.
    """

    mode: str = "deadline"
    budget: float = 1.0
    budget_min: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ParameterError(f"budget mode must be one of {', '.join(MODES)}, got {self.mode}")
        if not 0.0 <= self.budget <= 1.0:
            raise ParameterError(f"budget must lie in 0..1, got {self.budget}")
        if not 0.0 <= self.budget_min <= 1.0:
            raise ParameterError(f"budget_min must lie in 0..1, got {self.budget_min}")

    @property
    def floor(self) -> float:
        """The smallest budget to plan with."""
        return min(self.budget_min, self.budget)

    @property
    def ceiling(self) -> float:
        """The largest budget to plan with."""
        return 1.0 if self.mode == "adaptive" else self.budget


@dataclass(frozen=True)
class Plan:
    """What to compute in one frame.

    Attributes:
        budget: share of the gated computation, 0 to 1.
        keep: pixels of each gated block.
        stage_seconds: expected duration of every stage, `slowdown` included.
        slowdown: how much slower than the latency table the machine was taken to be.
        timed: whether it was made for a deadline, so that a late frame should trim itself.
        thresholds: scores that a pixel of each gated block must exceed; None for no such limit.
    """

    budget: float
    keep: tuple[int, ...]
    stage_seconds: tuple[float, ...]
    slowdown: float
    timed: bool
    thresholds: tuple[float, ...] | None = None


class Controller:
    """Plans every frame, and learns from how long it took.

    Args:
        manifest: of the model, for its mapping from a budget to pixels per block.
        table: latency of the model's stages on this machine.
        settings: may be replaced at any time.
    """

    def __init__(
        self, manifest: Manifest, table: LatencyTable, settings: ControllerSettings | None = None
    ) -> None:
        self.settings = settings or ControllerSettings()
        self.slowdown = 1.0
        """How much slower than the table the machine is now (s)."""
        self.margin = _MARGIN_AT_START
        """Relative reserve against what the slowdown does not foresee (q)."""
        self.table = table
        """As given, corrected by what frames really took."""
        self._manifest = manifest
        self._refresh = TableRefresh(table)
        self._budgets = np.linspace(0.0, 1.0, _BUDGET_STEPS + 1)
        keep = [manifest.keep_for(float(budget)) for budget in self._budgets]
        self._keep: NDArray[np.float64] = np.array(keep, np.float64).reshape(len(keep), -1)
        self._tabulate()
        self._budget = math.nan
        self._frames = 0
        self._fast_frames = 0
        self._recent_paces: deque[float] = deque(maxlen=3)
        self._skipped_last = False
        self._thresholds = Thresholds([block.pixels for block in manifest.blocks])

    def renewed(self, table: LatencyTable) -> Controller:
        """A controller with another table, that has learned nothing yet, in place of this one."""
        return Controller(self._manifest, table, self.settings)

    def close(self) -> None:
        """Nothing more will be planned."""

    def plan(self, time_left_s: float | None, may_skip: bool = True) -> Plan | None:
        """Choose the budget of the next frame.

        Args:
            time_left_s: seconds until the network must have finished; None for no deadline.
            may_skip: whether None is an answer.

        Returns:
            The plan, or None to skip the frame since even the smallest budget would be late by far.
            Two frames in a row are never skipped: a late one shows whether the machine is free.
        """
        settings = self.settings
        if settings.mode == "fixed" or time_left_s is None:
            return self._accept(settings.ceiling, timed=False)
        if not abs(time_left_s) < _SANE_TIME_LEFT_S:
            return self._accept(self._bounded(_SAFE_BUDGET), timed=False)
        if may_skip and not self._skipped_last and self._is_hopeless(time_left_s):
            self._skipped_last = True
            return None
        affordable = time_left_s / (self.slowdown * (1.0 + self.margin))
        budget = self._limited(self._bounded(self._largest_within(affordable)))
        return self._accept(budget, timed=True)

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        """Learn from a finished frame.

        Args:
            plan: what `plan` returned for it.
            keep_used: pixels that each block really computed.
            stage_seconds: measured duration of every stage.
        """
        if plan.thresholds is not None:
            wanted = self._keep_at(self.settings.budget)
            self._thresholds.observe(plan.keep, keep_used, wanted)
        if tuple(keep_used) == plan.keep:
            in_table = math.fsum(plan.stage_seconds) / plan.slowdown
        else:
            in_table = self.table.total_seconds(keep_used)
        measured = math.fsum(stage_seconds)
        if not (0.0 < measured < _SANE_TIME_LEFT_S and in_table > 0.0):
            return
        self._frames += 1
        pace = measured / in_table
        self._recent_paces.append(pace)
        self._follow_margin(pace / plan.slowdown - 1.0, plan.budget)
        self._follow_slowdown(pace)
        if self._refresh.observe(keep_used, stage_seconds):
            self.table = self._refresh.table
            self._tabulate()

    @property
    def floor_seconds(self) -> float:
        """What the smallest budget is expected to take now, without a margin."""
        return self.slowdown * self._total_at(self.settings.floor)

    def floor_fits(self, time_left_s: float, slowdown: float) -> bool:
        """Whether the smallest budget, with its margin, is expected to be in time.

        Args:
            time_left_s: for the network.
            slowdown: of the machine, learned where it is working.
        """
        floor_s = slowdown * self._total_at(self.settings.floor)
        return floor_s <= time_left_s / (1.0 + self.margin)

    def rescale(self, ratio: float) -> None:
        """The machine's clock has visibly changed: durations are `ratio` times what they were.

        Raises:
            ValueError: the ratio is not positive and finite.
        """
        if not 0.0 < ratio < math.inf:
            raise ValueError(f"ratio must be positive and finite, got {ratio}")
        self.slowdown *= ratio
        self._recent_paces.clear()

    def _tabulate(self) -> None:
        """Tell every stage's duration on the grid of budgets from the table."""
        first, *gated, last = self.table.stages
        ungated = [np.full(len(self._budgets), stage.at(0)) for stage in (first, last)]
        columns = [
            np.interp(keep, stage.keep, stage.seconds)
            for stage, keep in zip(gated, self._keep.T, strict=True)
        ]
        self._seconds = np.stack([ungated[0], *columns, ungated[1]], axis=1)
        self._totals = self._seconds.sum(axis=1)
        # A budget row of the manifest may keep fewer pixels than a smaller budget does; searching
        # a budget needs totals that never fall.
        self._rising_totals = np.maximum.accumulate(self._totals)

    def _is_hopeless(self, time_left_s: float) -> bool:
        """Whether even the smallest budget would be late by far, hiccups of single frames aside."""
        usual_pace = statistics.median_low(self._recent_paces or [self.slowdown])
        pace = min(self.slowdown, usual_pace)
        return pace * self._total_at(self.settings.floor) > _HOPELESS_BEYOND * time_left_s

    def _accept(self, budget: float, timed: bool) -> Plan:
        self._budget = budget
        self._skipped_last = False
        low, share = self._row(budget)
        seconds = (1.0 - share) * self._seconds[low] + share * self._seconds[low + 1]
        return Plan(
            budget=budget,
            keep=self._keep_at(budget),
            stage_seconds=tuple((self.slowdown * seconds).tolist()),
            slowdown=self.slowdown,
            timed=timed,
            thresholds=self._thresholds.values if self.settings.mode == "adaptive" else None,
        )

    def _keep_at(self, budget: float) -> tuple[int, ...]:
        low, share = self._row(budget)
        keep = (1.0 - share) * self._keep[low] + share * self._keep[low + 1]
        return tuple(np.rint(keep).astype(int).tolist())

    def _largest_within(self, seconds: float) -> float:
        return float(np.interp(seconds, self._rising_totals, self._budgets))

    def _total_at(self, budget: float) -> float:
        return float(np.interp(budget, self._budgets, self._totals))

    def _bounded(self, budget: float) -> float:
        return min(max(budget, self.settings.floor), self.settings.ceiling)

    def _limited(self, budget: float) -> float:
        """Falls pass; rises only if they are worth it, and slowly; at first nothing above safe."""
        if self._frames < _TRIAL_FRAMES:
            budget = min(budget, self._bounded(_SAFE_BUDGET))
        before = self._bounded(self._budget) if self._budget >= 0.0 else budget
        if budget <= before:
            return budget
        if budget < before + min(_RISE_WORTH_TAKING, self.settings.ceiling - before):
            return before
        return min(budget, before + _RISE_PER_FRAME)

    def _row(self, budget: float) -> tuple[int, float]:
        """The grid point at or below a budget, and the share of the way to the next one."""
        position = budget * _BUDGET_STEPS
        low = min(int(position), _BUDGET_STEPS - 1)
        return low, position - low

    def _follow_slowdown(self, pace: float) -> None:
        """Up at once, down only after several fast frames, else slowly."""
        off = pace / self.slowdown - 1.0
        self._fast_frames = self._fast_frames + 1 if off < -_OUTLIER else 0
        if off > _OUTLIER:
            gain = 0.9
        elif off >= -_OUTLIER:
            gain = 0.15
        else:
            gain = _FALL_GAIN if self._fast_frames >= _FALLS_BEFORE_TRUST else 0.0
        self.slowdown += gain * (pace - self.slowdown)

    def _follow_margin(self, surprise: float, budget: float) -> None:
        """Track the quantile of surprises that may be exceeded once in two hundred frames."""
        saturated = budget >= self.settings.ceiling or budget <= self.settings.floor
        if saturated or abs(surprise) > _MARGIN_FROZEN_ABOVE:
            return
        step = _MARGIN_STEP * ((surprise > self.margin) - _MARGIN_MISS_RATE)
        self.margin = min(max(self.margin + step, _MARGIN_RANGE[0]), _MARGIN_RANGE[1])
