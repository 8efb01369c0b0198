"""Whether a tuned model is better than the one it comes from, in a word and with the reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pag_ros.evaluation.named_metrics import Metric
from pag_ros.lab.tuning.changes import BETTER, UNDECIDED, WORSE, ScoreChange
from pag_ros.lab.tuning.paired_scores import MAIN_METRICS

FORGOTTEN = 0.03
"""Share of a score whose loss on rendered rooms is pointed out."""


@dataclass(frozen=True)
class Judgement:
    """Whether the tuned model is better, and why.

    Attributes:
        main: the metric that decides; None where no held-out frame has a truth.
        reasons: short sentences for people.
        forgotten: what lost more than `FORGOTTEN` of its score on rendered rooms.
    """

    better: bool
    main: Metric | None
    reasons: tuple[str, ...]
    forgotten: tuple[ScoreChange, ...]


def judge(
    held_out: Sequence[ScoreChange],
    rooms: Sequence[ScoreChange] | None,
    taught: Sequence[str] = (),
) -> Judgement:
    """Judge the tuned model by held-out frames, and tell what it forgot.

    It is better if the main metric is better at the first budget, and no head's main metric is
    worse at any budget. What it forgot is told, and decides nothing.

    Args:
        held_out: of frames that it was not tuned on.
        rooms: of rendered rooms, on which the model before was trained; empty if not measured, None
            if nothing can have been forgotten.
        taught: tasks, the most important first; the first with a truth decides where there is no
            true depth.
    """
    forgotten = tuple(change for change in rooms or () if change.relative_loss > FORGOTTEN)
    main = _main_metric(held_out, taught)
    told = _tell_forgotten(rooms, forgotten)
    if main is None:
        reason = "No held-out frame has a truth that the models could be compared with."
        return Judgement(False, None, (reason, *told), forgotten)
    first, *others = [change for change in held_out if change.metric == main]
    heads = [c for c in held_out if c.metric in MAIN_METRICS.values() and c.metric != main]
    worse = [change for change in (*others, *heads) if change.outcome == WORSE]
    reasons = [
        _tell(first),
        *_tell_not_worse(others),
        *(_tell(c) for c in worse),
        *(_tell(c) for c in heads if c.outcome == BETTER and c.budget == first.budget),
        *_tell_minor([c for c in held_out if c.metric not in MAIN_METRICS.values()]),
        *told,
    ]
    better = first.outcome == BETTER and not worse
    return Judgement(better, main, tuple(reasons), forgotten)


def share_text(change: ScoreChange) -> str:
    """The relative loss in percent, with its sign: + is worse."""
    share = change.relative_loss
    if math.isinf(share):
        return "from 0"
    return f"{round(100 * share, 1) + 0.0:+.1f} %"  # never "-0.0 %"


def _main_metric(held_out: Sequence[ScoreChange], taught: Sequence[str]) -> Metric | None:
    scored = {change.metric for change in held_out}
    for task in ("depth", *taught):
        metric = MAIN_METRICS.get(task)
        if metric in scored:
            return metric
    return None


def _tell(change: ScoreChange) -> str:
    """One sentence of what became of a metric."""
    metric = change.metric
    begin = {BETTER: "Better", WORSE: "Worse", UNDECIDED: "Not decided"}[change.outcome]
    values = f"{metric.format(change.before)} before, {metric.format(change.after)} after"
    what = f"{begin}: {metric.task}, {metric.text} at budget {change.budget:.2f}, {values}"
    if math.isinf(change.low):
        return f"{what}; {change.frames} frames are too few to tell."
    interval = metric.format_interval(change.low, change.high)
    return f"{what}; difference {interval} on {change.frames} frames."


def _tell_not_worse(others: Sequence[ScoreChange]) -> list[str]:
    """The main metric at the budgets beside the first at which it is not worse."""
    by_outcome = {
        outcome: [f"{c.budget:.2f}" for c in others if c.outcome == outcome]
        for outcome in (BETTER, UNDECIDED)
    }
    texts = {BETTER: "better, too", UNDECIDED: "neither better nor worse by what can be told"}
    return [
        f"At budget {', '.join(budgets)}: {texts[outcome]}."
        for outcome, budgets in by_outcome.items()
        if budgets
    ]


def _tell_minor(minor: Sequence[ScoreChange]) -> list[str]:
    """What is worse among the metrics that decide nothing."""
    budgets: dict[Metric, list[str]] = {}
    for change in minor:
        if change.outcome == WORSE:
            budgets.setdefault(change.metric, []).append(f"{change.budget:.2f}")
    return [
        f"Worse, which decides nothing: {m.task}, {m.text} at budget {', '.join(at)}."
        for m, at in budgets.items()
    ]


def _tell_forgotten(
    rooms: Sequence[ScoreChange] | None, forgotten: Sequence[ScoreChange]
) -> list[str]:
    if rooms is None:
        return []
    if not rooms:
        return ["What it forgot on rendered rooms was not measured."]
    if not forgotten:
        return [f"On rendered rooms no score lost more than {100 * FORGOTTEN:g} % of its value."]
    texts = [
        f"{c.metric.task}, {c.metric.text} ({share_text(c)} at budget {c.budget:.2f})"
        for c in _largest_losses(forgotten)
    ]
    return [f"Forgotten on rendered rooms, by more than {100 * FORGOTTEN:g} %: {'; '.join(texts)}."]


def _largest_losses(changes: Sequence[ScoreChange]) -> list[ScoreChange]:
    """Of every metric the budget at which it lost most."""
    largest: dict[Metric, ScoreChange] = {}
    for change in changes:
        known = largest.get(change.metric)
        if known is None or change.relative_loss > known.relative_loss:
            largest[change.metric] = change
    return list(largest.values())
