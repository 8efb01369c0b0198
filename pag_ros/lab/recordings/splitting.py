"""Which part of a recording is held out: whole stretches of time, with gaps around them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import accumulate, pairwise

CHUNK_S = 10.0
"""Longest stretch: much longer ones would hold out whole rooms that are then never learned."""

PERIOD = 4
"""One of so many stretches is held out."""

GAP_S = 1.0
"""Around a held-out stretch; what was filmed in it is used for nothing. At most a fifth of one."""

MAX_STEP_S = 1.0
"""That two frames of a recording are apart; what is more is a pause."""


class Side(Enum):
    """What a frame is for."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    GAP = "gap"


def split(times_s: Sequence[float]) -> list[Side]:
    """Say for each frame of one recording what it is for.

    Args:
        times_s: of the frames, in the order in which they were recorded. A pause counts as long
            as `MAX_STEP_S`.

    Returns:
        Every fourth stretch of ten seconds is held out; of a recording below 40 s the third of
        four equal ones. A training frame is at least the gap away from them.
    """
    if not times_s:
        return []
    steps_s = (min(abs(b - a), MAX_STEP_S) for a, b in pairwise(times_s))
    filmed_s = list(accumulate(steps_s, initial=0.0))
    length_s = filmed_s[-1]
    chunk_s = min(CHUNK_S, length_s / PERIOD)
    gap_s = min(GAP_S, chunk_s / 5.0)
    held_out = [
        (number * chunk_s, (number + 1) * chunk_s)
        for number in range(PERIOD - 2, max(PERIOD, int(length_s / CHUNK_S) + 1), PERIOD)
    ]
    return [_side(at_s, held_out, gap_s) for at_s in filmed_s]


def _side(at_s: float, held_out: Sequence[tuple[float, float]], gap_s: float) -> Side:
    if any(begin <= at_s < end for begin, end in held_out):
        return Side.HELD_OUT
    if any(begin - gap_s < at_s < end + gap_s for begin, end in held_out):
        return Side.GAP
    return Side.TRAIN
