"""One camera of the node: what it listens to, its books, and its frames' way to the outputs."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from pag_ros.ros.pipeline import Pipeline
from pag_ros.ros.publishers import Publishers
from pag_ros.ros.statistics import FrameStatistics, SequenceGaps
from pag_ros.ros.subscriptions import CameraSubscription
from pag_ros.ros.timing import Arrivals


class Channel:
    """The state of one camera.

    Attributes:
        name: empty for the only camera.
        publishers: of its outputs.
        statistics: of its frames since the node was configured.
        pipeline: of its frames.
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
