"""What is done when frames are late: less work for the part that is to blame, and a word of it."""

from __future__ import annotations

from pag_ros.budget import Allowance, Rung, Thinning, Verdict
from pag_ros.ros.logger import Logger
from pag_ros.ros.publishing import Published
from pag_ros.runtime import FrameResult, Perception

WARN_EVERY_S = 10.0

_DOWN_TO = {
    Rung.HALF_RESOLUTION: "half the input resolution, even budget_min is late at the whole one",
    Rung.HALF_RATE: "every second frame is left out, for even at budget_min all are late",
    Rung.DEGRADED: "cannot be kept on this machine, even half the frame rate is late",
}
_UP_TO = {
    Rung.FULL: "back at the whole input resolution and frame rate",
    Rung.HALF_RESOLUTION: "back at the whole frame rate, with half the input resolution",
    Rung.HALF_RATE: "kept again, with every second frame left out",
}
"""What a step down or up to a rung means to people."""


class Remedies:
    """The escalation of the network, which all cameras share, and the thinning of outputs.

    Args:
        perception: whose ladder is climbed.
        logger: that is told of every step.
    """

    def __init__(self, perception: Perception, logger: Logger) -> None:
        self._perception = perception
        self._logger = logger
        self._thinning = Thinning()

    @property
    def thinned(self) -> dict[str, int]:
        """Output -> how many frames share one message of it, for outputs that are thinned."""
        return self._thinning.every

    def outputs_of_next_frame(self, wanted: frozenset[str]) -> frozenset[str]:
        """The outputs that the next frame carries, of those that are wanted."""
        return self._thinning.next_of(wanted)

    def after_network(
        self, verdict: Verdict, allowance: Allowance, result: FrameResult | None
    ) -> None:
        """Step down or up the ladder of escalation, as the last frame went.

        Args:
            verdict: on the frame.
            allowance: that it had.
            result: None if it was skipped.
        """
        budget = None if result is None else result.budget
        before = self._perception.escalation.rung
        late = verdict.is_late_by_network
        rung = self._perception.ended(late, budget, allowance)
        if rung is not None and rung > before:
            self._logger.warning(f"deadline: {_DOWN_TO[rung]}")
        elif rung is not None:
            self._logger.info(f"deadline: {_UP_TO[rung]}")

    def after_publishing(self, verdict: Verdict, published: Published, thins: bool) -> None:
        """Say that publishing is slow, and publish the slowest output less often.

        Args:
            verdict: on the frame.
            published: how its outputs were made and sent.
            thins: whether outputs may be left out.
        """
        late = verdict.is_late_by_publishing
        if late:
            self._logger.warning(
                f"deadline: publishing takes {1e3 * published.total_s:.0f} ms, most of it "
                f"{published.slowest}, and is the longer part: a subscriber has stopped or cannot "
                "keep up, or the output is too large; the network keeps its resolution and rate",
                throttle_duration_sec=WARN_EVERY_S,
            )
        step = self._thinning.finished(late, published.seconds) if thins else None
        if step is None:
            return
        if step.every == 1:
            self._logger.info(f"deadline: {step.output} is published with every frame again")
        else:
            self._logger.warning(
                f"deadline: {step.output} is published with one of {step.every} frames, so that "
                "the other outputs are in time"
            )
