"""What the GPU's clock shows at a moment of the host's: a frame's time counts from the call.

A frame that waits behind another program's work on the GPU has used up time before its first
kernel runs, and the GPU alone cannot know of it. So the host tells it when the frame began, in
nanoseconds of the GPU's clock.

How far the clocks are apart is learned from the frames. The first kernel reads the GPU's clock
after the host has launched it, the last one before the host has everything back: each frame gives
two bounds. Between these lie a launch and a copy back, which take at least as long as in the
quickest frames so far. So the lower bound and that gap give the distance, also while every
launch has to wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_FRAMES = 64
"""How many of the last frames the bounds are taken from."""
_DRIFT = 1e-4
"""Share of the time by which one clock may run faster than the other; crystals are better."""
_TICK_S = 1.1e-3
"""Time between two values of the GPU's clock, on GPUs whose clock shows milliseconds."""


@dataclass(frozen=True)
class _Bounds:
    """Bounds of the GPU's clock minus the host's, in seconds, at a moment of the host's clock."""

    at_s: float
    lower_s: float
    upper_s: float


class GpuClock:
    """The GPU's clock as the host knows it. Learns from every frame that is observed."""

    def __init__(self) -> None:
        self._bounds: deque[_Bounds] = deque(maxlen=_FRAMES)
        # A moment on the GPU's clock; differences from it keep their digits.
        self._zero_ns = 0
        self._gap_s = float("inf")
        self._distance_s = 0.0

    @property
    def is_known(self) -> bool:
        """Whether a frame has been observed."""
        return bool(self._bounds)

    def observe(self, launched_s: float, started_ns: int, ended_ns: int, done_s: float) -> None:
        """Learn from a frame.

        Args:
            launched_s: `time.perf_counter()` before it was launched.
            started_ns, ended_ns: the GPU's clock, read by its first and by its last kernel.
            done_s: `time.perf_counter()` once everything was back.
        """
        if not self._bounds:
            self._zero_ns = started_ns
        now = _Bounds(
            done_s,
            lower_s=self._seconds(ended_ns) - done_s,
            upper_s=self._seconds(started_ns) - launched_s,
        )
        self._bounds.append(now)
        lower, upper = self._limits(done_s)
        if lower > upper + _TICK_S:  # A clock was set: what was known of it is void.
            self._bounds.clear()
            self._bounds.append(now)
            lower, upper = now.lower_s, now.upper_s
        self._gap_s = min(self._gap_s, max(0.0, upper - lower))
        self._distance_s = lower + self._gap_s

    def at(self, host_s: float) -> int:
        """What the GPU's clock shows, in nanoseconds, when `time.perf_counter()` is `host_s`.

        Raises:
            RuntimeError: no frame has been observed.
        """
        if not self._bounds:
            raise RuntimeError("the GPU's clock is not known before a frame has run")
        return self._zero_ns + round((host_s + self._distance_s) * 1e9)

    def host_seconds(self, gpu_ns: int) -> float:
        """The reverse of `at`."""
        return self._seconds(gpu_ns) - self._distance_s

    def _seconds(self, gpu_ns: int) -> float:
        return (gpu_ns - self._zero_ns) * 1e-9

    def _limits(self, now_s: float) -> tuple[float, float]:
        """The closest bounds, each loosened by what the clocks may have drifted since."""
        drifts = [_DRIFT * (now_s - each.at_s) for each in self._bounds]
        lower = max(b.lower_s - drift for b, drift in zip(self._bounds, drifts, strict=True))
        upper = min(b.upper_s + drift for b, drift in zip(self._bounds, drifts, strict=True))
        return lower, upper
