"""How far a training run is: by its iterations, or by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate

from pag_ros.lab.training.config import TrainConfig

CHECKS = 10
"""Validations of a run that the clock ends."""


class Pacing:
    """Counts iterations and seconds, and tells what is due.

    By iterations, a run that was killed goes on exactly as if it had not been. By the clock
    (`minutes` of the configuration) it takes as many steps as there is time for; learning rates,
    temperatures and validations follow the share of the time that is spent.

    Attributes:
        done: iterations so far.
        progress: share of the run that is done, 0 to 1, when the step at hand began.
    """

    def __init__(self, config: TrainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._ends = list(accumulate(phase.iterations for phase in config.phases))
        self._limit_s = None if config.minutes is None else 60.0 * config.minutes
        self._began_s = clock()
        self._checks = 0
        self.done = 0
        self.progress = 0.0

    @property
    def seconds(self) -> float:
        """Spent on the run, those before it was killed included."""
        return self._clock() - self._began_s

    @property
    def seconds_left(self) -> float | None:
        """Until the clock ends the run; None where iterations do."""
        return None if self._limit_s is None else max(0.0, self._limit_s - self.seconds)

    def begin(self) -> None:
        """Start the clock anew: what was prepared before does not count."""
        self._began_s = self._clock()

    def resume(self, done: int, seconds: float) -> None:
        """Go on where a run was after so many iterations and seconds."""
        self.done = done
        self._began_s = self._clock() - seconds
        self._look()
        self._checks = int(self.progress * CHECKS)

    def start_of(self, number: int) -> int:
        """The iteration that a phase begins with."""
        return self._ends[number - 1] if number else 0

    def is_in(self, number: int) -> bool:
        """Whether there is more to do in a phase."""
        if self._limit_s is None:
            return self.done < self._ends[number]
        return self.progress < 1.0

    def progress_in(self, number: int) -> float:
        """Share of a phase that is done, 0 to 1."""
        if self._limit_s is not None:
            return self.progress
        return (self.done - self.start_of(number)) / self._config.phases[number].iterations

    def step(self) -> None:
        """Take note of an iteration."""
        self.done += 1
        self._look()

    def is_check_due(self) -> bool:
        """Whether to validate after this iteration; asked once for each."""
        if self._limit_s is None:
            return self.done % self._config.validate_every == 0 or self.done == self._ends[-1]
        reached = int(self.progress * CHECKS)
        due, self._checks = reached > self._checks, max(reached, self._checks)
        return due

    def _look(self) -> None:
        if self._limit_s is None:
            self.progress = self.done / self._ends[-1]
        else:
            self.progress = min(1.0, self.seconds / self._limit_s)
