"""Is the tuned network better? Paired differences over held-out frames, and what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.tuning.comparing import MEASURES, PairedScores

BLOCK = 5
"""Frames in a row that are drawn together, since neighbours show nearly the same; of few frames a
quarter of them."""
MIN_FRAMES = 4
"""Fewer say nothing of their mean."""
DRAWS = 2000
CONFIDENCE = 0.95
FORGOTTEN = 0.03
"""Relative loss on rendered rooms from which it is said."""

_SEED = 0


@dataclass(frozen=True)
class MeasuredChange:
    """How one measure changed at one budget.

    Attributes:
        task, metric: key of `MEASURES`.
        budget: that both models ran at.
        frames: how many have truth for it.
        before, after: means over these frames.
        low, high: interval of the mean difference, after - before, that holds with 95 %.
    """

    task: str
    metric: str
    budget: float
    frames: int
    before: float
    after: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        """Beyond doubt."""
        return self.low > 0.0 if MEASURES[self.task, self.metric] else self.high < 0.0

    @property
    def is_worse(self) -> bool:
        """Beyond doubt."""
        return self.high < 0.0 if MEASURES[self.task, self.metric] else self.low > 0.0

    @property
    def relative_loss(self) -> float:
        """Share of the value before that was lost; negative where it was gained."""
        if not self.before:
            return 0.0
        loss = (self.before - self.after) / abs(self.before)
        return loss if MEASURES[self.task, self.metric] else -loss


@dataclass(frozen=True)
class Judgement:
    """What is said of a tuned network.

    Attributes:
        is_better: whether it is, beyond doubt.
        reasons: sentences for people: what was gained and what was lost.
    """

    is_better: bool
    reasons: tuple[str, ...]


def changes(comparison: PairedScores) -> list[MeasuredChange]:
    """Every measure at every budget, the first budget first."""
    found = []
    for budget, pairs in comparison.frames.items():
        for task, metric in comparison.measured():
            key = task, metric
            scored = [(p.before[key], p.after[key]) for p in pairs if key in p.before]
            if not scored:
                continue
            before, after = np.asarray(scored, np.float64).T
            low, high = interval_of_mean(after - before)
            found.append(
                MeasuredChange(
                    *key, budget, len(scored), float(before.mean()), float(after.mean()), low, high
                )
            )
    return found


def interval_of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """The interval in which the mean lies with 95 %, of values that depend on their neighbours.

    The moving block bootstrap (Kuensch, Annals of Statistics 1989): stretches of values are drawn
    with replacement until there are as many as values.

    Args:
        values: [n] in their order.
    """
    count = len(values)
    if count < MIN_FRAMES:
        return -np.inf, np.inf
    block = min(BLOCK, count // MIN_FRAMES)
    rng = np.random.default_rng(_SEED)
    blocks = -(-count // block)
    starts = rng.integers(0, count - block + 1, (DRAWS, blocks))
    drawn = (starts[..., None] + np.arange(block)).reshape(DRAWS, -1)[:, :count]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values[drawn].mean(axis=1), (tail, 100.0 - tail))
    return float(low), float(high)


def judge(held_out: Sequence[MeasuredChange], rendered: Sequence[MeasuredChange]) -> Judgement:
    """Better is: the first measure is better at the first budget, and nothing is worse anywhere.

    Args:
        held_out: changes on held-out frames of the recording.
        rendered: changes on rendered rooms; what is lost there is said, but decides nothing.
    """
    if not held_out:
        return Judgement(False, ("no held-out frame has a truth to be compared with",))
    first = held_out[0]
    worse = [change for change in held_out if change.is_worse]
    reasons = [*_gains(first), *(f"worse: {describe(change)}" for change in worse)]
    reasons += [
        f"lost on rendered rooms: {describe(change)}"
        for change in rendered
        if change.relative_loss > FORGOTTEN
    ]
    return Judgement(first.is_better and not worse, tuple(reasons))


def describe(change: MeasuredChange) -> str:
    """A change in words and numbers."""
    return (
        f"{change.task} {change.metric} {change.before:.3f} -> {change.after:.3f} at budget "
        f"{change.budget:g} ({change.frames} frames)"
    )


def _gains(first: MeasuredChange) -> Iterator[str]:
    if first.is_better:
        yield f"better: {describe(first)}"
    elif not np.isfinite(first.low):
        yield f"too few held-out frames to be sure: {describe(first)}"
    else:
        yield f"no clear gain: {describe(first)}"
