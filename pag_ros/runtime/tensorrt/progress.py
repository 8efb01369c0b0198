"""How far a build has come: from TensorRT's nested phases to one share and a time estimate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pag_ros.runtime.tensorrt.api import TensorRt

Report = Callable[[float, float | None, str], None]
"""Takes (share done 0 to 1, seconds left or None if it is too early to say, phase)."""

_TOO_EARLY = 0.02
"""Share before which an estimate would be a guess."""


@dataclass
class _Phase:
    steps: int
    parent: str | None
    done: int = 0
    children: list[str] = field(default_factory=list)


class BuildProgress:
    """Follows the phases of one build. TensorRT calls from several threads.

    A phase's steps count the same; a phase inside another is a part of that one's current step.

    Args:
        report: called whenever more is done.
        clock: in seconds; tests give another one.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._began = clock()
        self._phases: dict[str, _Phase] = {}
        self._share = 0.0
        self._lock = threading.Lock()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or by itself."""
        with self._lock:
            self._phases[name] = _Phase(max(1, steps), parent)
            if parent in self._phases:
                self._phases[parent].children.append(name)

    def step_complete(self, name: str, step: int) -> None:
        """Step number `step`, counted from 0, of a phase is done."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is None:
                return
            phase.done = min(phase.steps, max(phase.done, step + 1))
            self._advance(name)

    def phase_finish(self, name: str) -> None:
        """A phase is done, perhaps with steps left out."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is None:
                return
            if phase.parent in self._phases:
                self._phases[phase.parent].children.remove(name)
            else:
                self._advance(name, finished=True)

    def _advance(self, name: str, finished: bool = False) -> None:
        roots = [each for each in self._phases.values() if each.parent not in self._phases]
        share = 1.0 if finished else max((self._done(root) for root in roots), default=0.0)
        # It never goes back: phases may come one after another that nobody announced.
        if share <= self._share:
            return
        self._share = share
        elapsed = self._clock() - self._began
        left = elapsed * (1.0 - share) / share if share >= _TOO_EARLY else None
        self._report(share, left, name)

    def _done(self, phase: _Phase) -> float:
        inside = [self._done(self._phases[name]) for name in phase.children]
        part = sum(inside) / len(inside) if inside else 0.0
        return min(1.0, (phase.done + part) / phase.steps)


def progress_monitor(
    trt: TensorRt, progress: BuildProgress, is_stopped: Callable[[], bool]
) -> object:
    """A trt.IProgressMonitor that tells a `BuildProgress`; it has to outlive the build.

    Args:
        is_stopped: asked after every step whether the build is to end.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step_complete(phase_name, step)
            return not is_stopped()

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_finish(phase_name)

    return Monitor()


def log_lines(say: Callable[[str], None], every_s: float = 10.0) -> Report:
    """A report that becomes a line now and then, for logs."""
    last = [time.monotonic()]

    def report(share: float, left_s: float | None, phase: str) -> None:
        now = time.monotonic()
        if now - last[0] < every_s:
            return
        last[0] = now
        left = "" if left_s is None else f", about {left_s:.0f} s left"
        say(f"building: {100.0 * share:.0f} %{left} ({phase})")

    return report
