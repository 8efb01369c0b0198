"""The deadline: how much time a frame may take, and how it kept to it.

Pure arithmetic on moments that others read off their clock (docs/deadline.md). The node, the load
bench and the simulator share it: `Timekeeper.allow` before a frame, `judge` when the network has
ended, `published` when the outputs are out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pag_ros.budget.capture import FrameTiming
from pag_ros.budget.reserve import Reserve

TRIM_AT = 0.96
"""Share of the time left that a late frame trims itself to meet. In the simulator .96 misses a
fifth of what .98 does under steps of load, at the same density."""

LATE_BEYOND_USE = 0.5
"""Deadlines by which a finished frame may be late and still be published."""


@dataclass(frozen=True)
class Conditions:
    """What holds for the coming frame besides its own timing.

    Attributes:
        floor_s: what the network takes at the smallest budget.
        outputs: that are going to be published.
        half_rate: every second frame is left out, so this one has twice the time.
        drops: a frame that comes too late may be dropped.
        guard_s: kept for the outputs' way to their subscribers.
    """

    floor_s: float
    outputs: frozenset[str] = frozenset()
    half_rate: bool = False
    drops: bool = True
    guard_s: float = 0.0


@dataclass(frozen=True)
class Allowance:
    """What a frame may take; moments are seconds on the caller's clock.

    Attributes:
        timing: of the frame.
        started_s: when the frame's turn came.
        due_s: when its outputs must be out; at half rate a deadline later than `timing` says.
        network_s: time left for the network; negative where it is too late already.
        aim_s: when the network is to end; a network that is late trims itself to meet it.
        trim_at_s: the aim less what networks usually exceed it by.
        smallest_s: what the network takes at the smallest budget, the picture's resizing included.
        publishing_s: what publishing usually takes at most.
        may_drop: it may be skipped or abandoned; never two frames in a row.
    """

    timing: FrameTiming
    started_s: float
    due_s: float
    network_s: float
    aim_s: float
    trim_at_s: float
    smallest_s: float = 0.0
    publishing_s: float = 0.0
    may_drop: bool = True

    @classmethod
    def from_now(cls, now_s: float, seconds: float, may_drop: bool = True) -> Allowance:
        """For a frame that starts now and must have gone through the network `seconds` later."""
        aim_s = now_s + TRIM_AT * seconds
        timing = FrameTiming(now_s, 0.0, seconds)
        return cls(timing, now_s, now_s + seconds, seconds, aim_s, aim_s, may_drop=may_drop)


class Ran(NamedTuple):
    """How a frame went through the network.

    Attributes:
        ended_s: when the network had ended.
        resizing_s: making the picture smaller before it, and after it setting the depth's scale and
            making the outputs larger.
        aimed: it was planned for a deadline, and trimmed itself if it was late.
    """

    ended_s: float
    resizing_s: float = 0.0
    aimed: bool = True


class Outcome(Enum):
    """How a frame ended, of those whose turn came."""

    IN_TIME = "in time"
    LATE = "late"
    SKIPPED = "skipped"
    """Not computed: even the smallest budget would have been late by far."""
    ABANDONED = "abandoned"
    """Computed, but so late that a newer frame is worth more."""


class Cause(Enum):
    """The longer part of a frame that is not in time: the one that a remedy has to act on."""

    NETWORK = "network"
    PUBLISHING = "publishing"


@dataclass(frozen=True)
class Verdict:
    """How a frame kept to its deadline.

    Attributes:
        outcome: LATE also where the outputs are not out yet, and will be late.
        cause: None for a frame in time.
    """

    outcome: Outcome
    cause: Cause | None = None

    @property
    def is_dropped(self) -> bool:
        """Whether it has no outputs."""
        return self.outcome in (Outcome.SKIPPED, Outcome.ABANDONED)

    @property
    def is_late_by_network(self) -> bool:
        """Whether less work of the network would have helped."""
        return self.cause is Cause.NETWORK

    @property
    def is_late_by_publishing(self) -> bool:
        """Whether less to publish would have helped."""
        return self.cause is Cause.PUBLISHING


class Timekeeper:
    """Gives the frames of a camera their time, judges them, and learns what to set aside.

    It sets time aside for what no budget shortens: resizing pictures, and publishing.
    """

    def __init__(self) -> None:
        self._resizing, self._overshoot = Reserve(), Reserve()
        self._publishing: dict[str, Reserve] = {}
        self._dropped_last = False

    def allow(
        self, timing: FrameTiming, started_s: float, now_s: float, conditions: Conditions
    ) -> Allowance:
        """The time that a frame may take from now on.

        Publishing leaves the network what it does not need itself. But where that is too little for
        the smallest budget, and publishing is the longer part, less work would not save the frame:
        then the network is planned as if publishing took no time and the frame had not waited, for
        instance for the one before to be published; it keeps its budget.

        Args:
            timing: of the frame.
            started_s: when its turn came: from then on its fair time counts.
            now_s: the present.
            conditions: that hold for it.
        """
        due_s = timing.due_s + (timing.deadline_s if conditions.half_rate else 0.0)
        publishing_s = self._publishing_s(conditions.outputs)
        smallest_s = conditions.floor_s + self._resizing.seconds
        left_s = min(due_s, started_s + timing.fair_s) - now_s - conditions.guard_s - publishing_s
        if left_s < smallest_s < publishing_s:
            left_s = min(due_s - timing.arrived_s, timing.fair_s) - conditions.guard_s
        network_s = left_s - self._resizing.seconds
        aim_s = now_s + TRIM_AT * network_s
        return Allowance(
            timing=timing,
            started_s=started_s,
            due_s=due_s,
            network_s=network_s,
            aim_s=aim_s,
            trim_at_s=aim_s - self._overshoot.seconds,
            smallest_s=smallest_s,
            publishing_s=publishing_s,
            may_drop=conditions.drops and not self._dropped_last,
        )

    def judge(self, allowance: Allowance, now_s: float, ran: Ran | None) -> Verdict:
        """Say what becomes of a frame when the network has ended or the frame has been skipped.

        Args:
            allowance: of the frame.
            now_s: the present.
            ran: how it went; None if it was skipped.
        """
        if ran is not None:
            self._learn_network(allowance, ran)
        outcome = self._outcome(allowance, now_s, ran)
        self._dropped_last = outcome in (Outcome.SKIPPED, Outcome.ABANDONED)
        if outcome is Outcome.IN_TIME:
            return Verdict(outcome)
        network_s = allowance.smallest_s if ran is None else now_s - allowance.started_s
        return Verdict(outcome, _longer(network_s, allowance.publishing_s))

    def published(
        self, allowance: Allowance, began_s: float, now_s: float, seconds: Mapping[str, float]
    ) -> Verdict:
        """Say how a frame kept its deadline, at half rate the one of the whole rate.

        Args:
            allowance: of the frame.
            began_s: when the making of its messages began.
            now_s: when the last one was out.
            seconds: output -> how long it took to make and to send.
        """
        for output, taken_s in seconds.items():
            self._publishing.setdefault(output, Reserve()).observe(taken_s)
        if now_s <= allowance.timing.due_s:
            return Verdict(Outcome.IN_TIME)
        cause = _longer(began_s - allowance.started_s, self._publishing_s(seconds))
        return Verdict(Outcome.LATE, cause)

    def _outcome(self, allowance: Allowance, now_s: float, ran: Ran | None) -> Outcome:
        if ran is None:
            return Outcome.SKIPPED
        late_s = now_s - allowance.due_s
        if allowance.may_drop and late_s > LATE_BEYOND_USE * allowance.timing.deadline_s:
            return Outcome.ABANDONED
        return Outcome.LATE if late_s + allowance.publishing_s > 0.0 else Outcome.IN_TIME

    def _learn_network(self, allowance: Allowance, ran: Ran) -> None:
        self._resizing.observe(ran.resizing_s)
        if ran.aimed:
            # Heads that lose their core come out late, and there is nothing left to trim.
            self._overshoot.observe(max(0.0, ran.ended_s - allowance.aim_s))

    def _publishing_s(self, outputs: Iterable[str]) -> float:
        known = [self._publishing[output] for output in outputs if output in self._publishing]
        return sum(reserve.seconds for reserve in known)


def _longer(network_s: float, publishing_s: float) -> Cause:
    """The longer part; the network's includes decoding and resizing."""
    return Cause.PUBLISHING if publishing_s > network_s else Cause.NETWORK
