"""The progress bar of a phase: iterations, or the share of the time and what is left of it."""

from __future__ import annotations

from collections.abc import Mapping

from tqdm import tqdm

from pag_ros.lab.training.config import Phase
from pag_ros.lab.training.pacing import Pacing

_BY_CLOCK = "{desc} {percentage:3.0f}%|{bar}|{postfix}"


class Bar:
    """Shows nothing unless `shown`; to be closed."""

    def __init__(self, phase: Phase, number: int, pacing: Pacing, shown: bool) -> None:
        name = f"training {phase.size[0]}x{phase.size[1]}"
        self._pacing = pacing
        self._by_clock = pacing.seconds_left is not None
        self._start = pacing.start_of(number)
        self._row = ""
        if self._by_clock:
            self._bar = tqdm(desc=name, total=100, disable=not shown, bar_format=_BY_CLOCK)
        else:
            self._bar = tqdm(
                desc=name,
                total=phase.iterations,
                initial=pacing.done - self._start,
                disable=not shown,
            )

    def close(self) -> None:
        """Leave it as it stands."""
        self._bar.close()

    def show(self, row: Mapping[str, float]) -> None:
        """Show the means of the last iterations behind the bar."""
        self._row = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
        if not self._by_clock:
            self._bar.set_postfix_str(self._row, refresh=False)

    def update(self) -> None:
        """Show how far the run is now."""
        left_s = self._pacing.seconds_left
        if left_s is None:
            self._bar.update(self._pacing.done - self._start - self._bar.n)
            return
        self._bar.set_postfix_str(f"{left_s / 60:.1f} min left, {self._row}", refresh=False)
        self._bar.update(100.0 * self._pacing.progress - self._bar.n)
