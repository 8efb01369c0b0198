"""How several cameras share one network: the time that each frame may take."""

from __future__ import annotations

import math
from collections.abc import Iterable


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
