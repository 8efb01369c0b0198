"""Time to keep in reserve for work that nothing can shorten: what it usually takes at most."""

from __future__ import annotations

_RISE, _FALL = 0.8, 0.02
"""Gains: a busy machine is believed at once, an idle one after a while. Of durations with an
exponential tail one in twenty exceeds the reserve."""


class Reserve:
    """Follows the upper end of some durations."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """What to set aside."""

    def observe(self, seconds: float) -> None:
        """Take note of how long the work took this time."""
        gain = _RISE if seconds > self.seconds else _FALL
        self.seconds += gain * (seconds - self.seconds)
