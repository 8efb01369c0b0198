"""When a frame is due: from its capture stamp where clocks allow, else from its arrival."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

DEFAULT_PERIOD_S = 0.1
"""Assumed until two frames have told the camera's period."""

MAX_STAMP_AGE_S = 2.0
"""A stamp older than this comes from a bag or another clock, not from a camera."""

MAX_PERIOD_S = 10.0
"""The longest deadline that can be set; stamps further apart are those of a clock that was set."""

PERIODS_KEPT = 31

_SILENT_PERIODS = 5.0
_SILENT_S = 1.0
"""A camera that is silent for longer than both has stopped, and needs no share of the time."""


@dataclass(frozen=True)
class FrameTiming:
    """What is known of a frame's time when it arrives; moments are seconds on the caller's clock.

    Attributes:
        arrived_s: when it arrived.
        age_s: time since its capture when it arrived; 0 where the stamp does not tell.
        deadline_s: from its capture until its outputs must be out.
        fair_s: how long the network may serve it, so that other cameras' frames are in time too.
    """

    arrived_s: float
    age_s: float
    deadline_s: float
    fair_s: float = math.inf

    @property
    def due_s(self) -> float:
        """When its outputs must be out."""
        return self.arrived_s + self.deadline_s - self.age_s


class CameraPeriod:
    """Estimates the time between frames from their capture stamps."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._periods: deque[float] = deque(maxlen=PERIODS_KEPT)

    def observe(self, stamp_s: float) -> None:
        """Take note of a frame's capture time, seconds on any clock; jumps back start anew."""
        if self._last is not None and stamp_s < self._last:
            self._periods.clear()
        elif self._last is not None and stamp_s > self._last:
            self._periods.append(min(stamp_s - self._last, MAX_PERIOD_S))
        self._last = stamp_s

    @property
    def seconds(self) -> float:
        """The median period: lost and late frames do not disturb it."""
        return statistics.median(self._periods) if self._periods else DEFAULT_PERIOD_S


def age_at_arrival(stamp_s: float, now_s: float, sim_time: bool) -> float:
    """How old a frame was when it arrived, seconds; 0 where stamp and clock do not fit together.

    Args:
        stamp_s: the header's stamp.
        now_s: the clock of the stamps, at arrival.
        sim_time: the clock is a bag's or simulator's and too coarse to tell.
    """
    age = now_s - stamp_s
    return age if not sim_time and 0.0 <= age <= MAX_STAMP_AGE_S else 0.0


def fair_time_s(periods_s: Iterable[float]) -> float:
    """The time for every frame at which the cameras together keep one network busy, no more.

    Frames then take sum(time / period) = 1 of it. Up to there, serving the earliest deadline first
    meets every deadline that lies a period after the frame (Liu and Layland, J. ACM 20, 1973).

    Args:
        periods_s: time between the frames of each camera that sends any.

    Returns:
        Seconds; infinite for fewer than two cameras, who have nobody to share with.

    Raises:
        ValueError: a period is not positive.
    """
    periods = list(periods_s)
    if any(not period > 0.0 for period in periods):
        raise ValueError(f"periods must be positive, got {periods}")
    if len(periods) < 2:
        return math.inf
    return 1.0 / sum(1.0 / period for period in periods)


class Schedule:
    """When the frames of all cameras are due that one network serves."""

    def __init__(self) -> None:
        self._periods: dict[str, CameraPeriod] = {}
        self._last_arrivals: dict[str, float] = {}

    def arrived(
        self,
        camera: str,
        arrived_s: float,
        stamp_s: float,
        now_s: float,
        deadline_s: float = 0.0,
        sim_time: bool = False,
    ) -> FrameTiming:
        """Take note of a frame.

        Args:
            camera: that sent it.
            arrived_s: when it arrived, on the clock that frames are timed by.
            stamp_s: of its capture.
            now_s: the clock of the stamps, at arrival.
            deadline_s: from capture until its outputs must be out; 0 for the camera's period.
            sim_time: the clock of the stamps is a bag's or a simulator's.
        """
        self._periods.setdefault(camera, CameraPeriod()).observe(stamp_s)
        self._last_arrivals[camera] = now_s
        return FrameTiming(
            arrived_s=arrived_s,
            age_s=age_at_arrival(stamp_s, now_s, sim_time),
            deadline_s=self.deadline_s(camera, deadline_s),
            fair_s=fair_time_s(self._sending_periods(now_s)),
        )

    def deadline_s(self, camera: str, wanted_s: float = 0.0) -> float:
        """The deadline of a camera's frames: the one that is wanted, or its period if that is 0."""
        return wanted_s or self._period_s(camera)

    def stopped(self, camera: str) -> None:
        """Nobody listens to a camera any longer."""
        self._last_arrivals.pop(camera, None)

    def _period_s(self, camera: str) -> float:
        period = self._periods.get(camera)
        return DEFAULT_PERIOD_S if period is None else period.seconds

    def _sending_periods(self, now_s: float) -> list[float]:
        """Periods of the cameras whose frames come at present."""
        periods = {camera: self._period_s(camera) for camera in self._last_arrivals}
        return [
            period
            for camera, period in periods.items()
            if now_s - self._last_arrivals[camera] <= max(_SILENT_S, _SILENT_PERIODS * period)
        ]
