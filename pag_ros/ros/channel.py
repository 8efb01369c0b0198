"""One camera of the node: what it listens to, its books, and its frames' way to the outputs."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from pag_ros.ros.pipeline import Pipeline
from pag_ros.ros.publishers import Publishers
from pag_ros.ros.statistics import FrameStatistics, SequenceGaps
from pag_ros.ros.subscriptions import CameraSubscription
from pag_ros.ros.timing import Arrivals, CameraPeriod

_SILENT_PERIODS = 5.0
_SILENT_S = 1.0
"""A camera that is silent for longer than both has stopped, and needs no share of the time."""


class Channel:
    """The state of one camera.

    Attributes:
        name: empty for the only camera.
        publishers: of its outputs.
        statistics: of its frames since the node was configured.
        pipeline: of its frames.
        period: between its frames.
        arrivals: while the node is active, else None.
        info: its newest calibration.
        gaps: in the numbers of its images.
        subscriptions: to its images and its calibration while the node is active.
    """

    def __init__(
        self, name: str, publishers: Publishers, statistics: FrameStatistics, pipeline: Pipeline
    ) -> None:
        self.name = name
        self.publishers = publishers
        self.statistics = statistics
        self.pipeline = pipeline
        self.period = CameraPeriod()
        self.gaps = SequenceGaps()
        self.arrivals: Arrivals | None = None
        self.info: CameraInfo | None = None
        self.subscriptions: list[CameraSubscription] = []

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

    def sends(self, now_s: float) -> bool:
        """Whether its frames come at present."""
        if self.arrivals is None:
            return False
        return self.arrivals.silent_s(now_s) <= max(
            _SILENT_S, _SILENT_PERIODS * self.period.seconds
        )
