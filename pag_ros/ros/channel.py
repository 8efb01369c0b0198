"""One camera of the node: what it listens to, its books, and its frames' way to the outputs."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from pag_ros.ros.pipeline import Pipeline
from pag_ros.ros.publishers import Publishers
from pag_ros.ros.statistics import FrameStatistics, SequenceGaps
from pag_ros.ros.subscriptions import CameraSubscription
from pag_ros.ros.timing import Arrivals


class Problems:
    """What is to be said of an input: what two reports in a row find, each once.

    The first image may be a moment ahead of its calibration, which is no problem.
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._told: set[str] = set()

    def news(self, problem: str | None) -> str | None:
        """Take note of what a report finds; returns it if it is to be said now."""
        lasts, self._last = problem == self._last, problem
        if problem is None or not lasts or problem in self._told:
            return None
        self._told.add(problem)
        return problem


class Channel:
    """The state of one camera.

    Attributes:
        name: empty for the only camera.
        image_base: full name of the topic of its pictures, as the user gives it.
        publishers: of its outputs.
        statistics: of its frames since the node was configured.
        pipeline: of its frames.
        arrivals: while the node is active, else None.
        info: its newest calibration.
        gaps: in the numbers of its images.
        subscriptions: to its images and its calibration while the node is active.
        problems: of its input, of which the log is told.
    """

    def __init__(
        self,
        name: str,
        image_base: str,
        publishers: Publishers,
        statistics: FrameStatistics,
        pipeline: Pipeline,
    ) -> None:
        self.name = name
        self.image_base = image_base
        self.publishers = publishers
        self.statistics = statistics
        self.pipeline = pipeline
        self.gaps = SequenceGaps()
        self.arrivals: Arrivals | None = None
        self.info: CameraInfo | None = None
        self.subscriptions: list[CameraSubscription] = []
        self.problems = Problems()

    @property
    def image_topic(self) -> str:
        """Full name of the topic that its images come on."""
        return self.subscriptions[0].topic if self.subscriptions else self.image_base

    @property
    def info_topic(self) -> str:
        """Full name of the topic that its calibration comes on; empty while not active."""
        return self.subscriptions[1].topic if self.subscriptions else ""

    @property
    def reliable(self) -> bool:
        """Whether its images are asked for again if they are lost."""
        return bool(self.subscriptions) and self.subscriptions[0].reliable

    def start(self, now_s: float) -> None:
        """The node listens from now on."""
        self.arrivals, self.gaps = Arrivals(now_s), SequenceGaps()

    def stop(self) -> None:
        """Listen no longer."""
        for subscription in self.subscriptions:
            subscription.destroy()
        self.subscriptions, self.arrivals, self.info = [], None, None
        self.problems = Problems()
