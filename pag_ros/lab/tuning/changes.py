"""What tuning changed: every metric before and after, and how sure the difference is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.evaluation.named_metrics import Metric
from pag_ros.lab.tuning.paired_scores import AGREEMENTS, JUDGED, FrameScores

STRETCH_FRAMES = 5
"""Consecutive frames that are drawn together."""

DRAWS = 2000
MIN_STRETCHES = 3
"""Fewer stretches than that say nothing about their spread."""

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"


@dataclass(frozen=True)
class ScoreChange:
    """What became of one metric at one budget.

    Attributes:
        before, after: mean over the frames.
        low, high: 95 % interval of the mean difference, after less before; infinite where there
            are too few frames to tell.
        frames: that have this score.
    """

    metric: Metric
    budget: float
    before: float
    after: float
    low: float
    high: float
    frames: int

    @property
    def outcome(self) -> str:
        """`BETTER` or `WORSE` where the interval excludes 0, else `UNDECIDED`."""
        gain, loss = (BETTER, WORSE) if self.metric.higher_is_better else (WORSE, BETTER)
        if self.low > 0.0:
            return gain
        return loss if self.high < 0.0 else UNDECIDED

    @property
    def relative_loss(self) -> float:
        """How much worse it is, as a share of the score before; negative where it is better.

        Infinite where an error that was 0 is 0 no more.
        """
        risen = self.after - self.before
        worse = 0.0 - risen if self.metric.higher_is_better else risen
        if self.before == 0.0:
            return math.copysign(math.inf, worse) if worse else 0.0
        return worse / self.before


@dataclass(frozen=True)
class Agreement:
    """How much alike both models are at one budget: mean over the frames without a truth."""

    metric: Metric
    budget: float
    mean: float
    frames: int


def find_changes(
    frames: Sequence[FrameScores], stretch: int = STRETCH_FRAMES, seed: int = 0
) -> list[ScoreChange]:
    """Compare both models by every metric at every budget, each frame with itself.

    Args:
        frames: in the order in which they were recorded.
        stretch: consecutive frames that depend on one another; see `mean_interval`.
    """
    changes = []
    for metric in JUDGED:
        for budget, rows in _by_budget(frames).items():
            pairs = np.array(
                [(r.before[metric], r.after[metric]) for r in rows if metric in r.before]
            )
            if len(pairs):
                before, after = (float(mean) for mean in pairs.mean(axis=0))
                low, high = mean_interval(pairs[:, 1] - pairs[:, 0], stretch, seed)
                changes.append(ScoreChange(metric, budget, before, after, low, high, len(pairs)))
    return changes


def find_agreements(frames: Sequence[FrameScores]) -> list[Agreement]:
    """How much alike both models are at every budget, by the heads without a truth."""
    agreements = []
    for metric in AGREEMENTS:
        for budget, rows in _by_budget(frames).items():
            values = [row.agreement[metric] for row in rows if metric in row.agreement]
            if values:
                mean = float(np.mean(values))
                agreements.append(Agreement(metric, budget, mean, len(values)))
    return agreements


def mean_interval(
    differences: NDArray[np.float64], stretch: int = STRETCH_FRAMES, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences [n], in the order of the frames.

    Neighbouring frames of a recording show nearly the same and are not independent, so whole
    stretches of consecutive frames are drawn instead of single ones: the moving block bootstrap
    (Künsch 1989, The Jackknife and the Bootstrap for General Stationary Observations, Annals of
    Statistics 17), `DRAWS` times. The draws are centred on the mean, since they take frames near
    the ends more rarely, and widened as few stretches need it (Student's t).

    It is a little too narrow where frames resemble one another for longer than a stretch: of
    simulated recordings of 40 to 300 frames, 95 in 100 such intervals hold the true mean if the
    frames are independent, 90 if neighbours correlate by 0.5 and stretches have 5 frames.

    Args:
        stretch: frames drawn together, 1 or more; as many as resemble one another.
        seed: of the draws; the same one gives the same interval.

    Returns:
        Low and high end; infinite with fewer than `MIN_STRETCHES` stretches.

    Raises:
        ParameterError: stretch is less than 1.
    """
    if stretch < 1:
        raise ParameterError(f"stretch must be 1 or more frames, got {stretch}")
    count = len(differences) // stretch
    if count < MIN_STRETCHES:
        return -math.inf, math.inf
    of_stretches = np.convolve(differences, np.full(stretch, 1.0 / stretch), "valid")
    starts = np.random.default_rng(seed).integers(0, len(of_stretches), (DRAWS, count))
    means = of_stretches[starts].mean(axis=1)
    ends = np.percentile(means - means.mean(), (2.5, 97.5)) * _small_sample_factor(count)
    low, high = float(differences.mean()) + ends
    return float(low), float(high)


def stretch_for(frames: int) -> int:
    """Frames in a row that are drawn together: fewer where there are few at all."""
    return min(STRETCH_FRAMES, max(1, frames // 4))


def _by_budget(frames: Sequence[FrameScores]) -> dict[float, list[FrameScores]]:
    """Budget -> its frames, both in the order in which they are given."""
    rows: dict[float, list[FrameScores]] = {}
    for frame in frames:
        rows.setdefault(frame.budget, []).append(frame)
    return rows


def _small_sample_factor(count: int) -> float:
    """How much wider an interval of `count` independent values is than the bootstrap's.

    Draws spread by (count - 1) / count of the variance, and Student's t has wider tails.
    """
    from scipy.stats import norm, t

    tails = t.ppf(0.975, count - 1) / norm.ppf(0.975)
    return float(tails * math.sqrt(count / (count - 1)))
