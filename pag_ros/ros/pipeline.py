"""The way of one frame through the node: decode, infer, make messages, publish, account for it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from pag_ros.budget import Rung
from pag_ros.errors import ImageError, ParameterError
from pag_ros.image.camera_info import focal_length_px
from pag_ros.image.decode import to_rgb
from pag_ros.manifest import LabelClass, Manifest
from pag_ros.ros.engine import controller_settings
from pag_ros.ros.figures import FIGURES, Figures
from pag_ros.ros.outputs import OUTPUTS, Finished, Style, parts_shown
from pag_ros.ros.palette import recolored
from pag_ros.ros.parameters import Settings
from pag_ros.ros.publishers import Publishers
from pag_ros.ros.publishing import Published, PublishingTime
from pag_ros.ros.snapshot import default_folder, save_snapshot
from pag_ros.ros.statistics import FrameStatistics
from pag_ros.ros.timing import Stopwatch
from pag_ros.runtime import FrameResult, Perception

WARN_EVERY_S = 10.0
_LATE_BEYOND_USE = 0.5
"""Deadlines by which a finished frame may be late and still be published."""

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


@dataclass(frozen=True)
class Frame:
    """A picture on its way through the node.

    Attributes:
        message: sensor_msgs Image or CompressedImage.
        info: the newest CameraInfo, None if none has come.
        arrived: `time.perf_counter()` at arrival.
        age_s: time since capture at arrival; 0 where the stamp does not tell.
        due: `time.perf_counter()` by which its outputs must be out.
        deadline_s: from capture to `due`.
        fair_s: that it may take, so that the other cameras' frames are in time as well.
    """

    message: Any
    info: CameraInfo | None
    arrived: float
    age_s: float
    due: float
    deadline_s: float
    fair_s: float = math.inf


class Pipeline:
    """Turns frames into messages. Runs on the thread that owns the perception.

    Args:
        perception: the loaded network.
        publishers: of the node's topics.
        statistics: that every frame's end is entered into.
        settings: of the node; `apply` replaces them.
        logger: of the node, or its child for this camera.
        camera: name of the camera, empty if it is the only one.
        topic: that the frames come on, for messages.

    Raises:
        ParameterError: the palette cannot be used.
    """

    def __init__(
        self,
        perception: Perception,
        publishers: Publishers,
        statistics: FrameStatistics,
        settings: Settings,
        logger: Any,
        camera: str = "",
        topic: str = "image",
    ) -> None:
        self.enabled = True
        self.perception = perception
        self.last_budget: Mapping[str, object] = {}
        self._publishers = publishers
        self._statistics = statistics
        self._logger = logger
        self._camera = camera
        self._topic = topic
        self._settings = settings
        self._classes = _classes(settings, perception.session.manifest)
        self._style = self._styled(settings)
        self._last: Finished | None = None
        self._publishing = PublishingTime()
        self._dropped_last = False

    def apply(self, settings: Settings) -> None:
        """Obey new parameters from the next frame on."""
        self._settings = settings
        self._style = self._styled(settings)
        self.perception.settings = controller_settings(settings)

    def handle(self, frame: Frame) -> None:
        """Process a frame, whatever it is: no message may end the node."""
        try:
            self._process(frame)
        except ImageError as error:
            self._statistics.finished("bad")
            self._logger.warning(
                f"image on {self._topic} dropped: {error}", throttle_duration_sec=WARN_EVERY_S
            )
        except Exception as error:
            self._statistics.finished("bad")
            reason = " ".join(str(error).split())
            self._logger.error(
                f"image on {self._topic} dropped: {type(error).__name__}: {reason}",
                throttle_duration_sec=WARN_EVERY_S,
            )

    @property
    def has_frame(self) -> bool:
        """Whether a frame has been processed."""
        return self._last is not None

    def save_snapshot(self) -> list[Path]:
        """Write the last frame's pictures.

        Raises:
            ImageError: no frame has been processed yet.
            ParameterError: the folder cannot be written.
        """
        if self._last is None:
            raise ImageError("no frame has been processed yet; subscribe to an output")
        folder = self._settings.snapshot_dir
        target = Path(folder).expanduser() if folder else default_folder()
        try:
            return save_snapshot(self._last, self._style, target / self._camera)
        except OSError as error:
            reason = f"snapshot_dir {target}: cannot be written ({error.strerror})"
            raise ParameterError(reason) from error

    def _styled(self, settings: Settings) -> Style:
        nearest_m, farthest_m = self.perception.session.manifest.depth_range_m
        return Style(
            depth_encoding=settings.depth_encoding,
            depth_range_m=(nearest_m, settings.depth_max_m or farthest_m),
            classes=self._classes,
        )

    def _process(self, frame: Frame) -> None:
        topics = self._publishers.subscribed()
        if not self.enabled or not self._shown(topics):
            self._statistics.finished("idle")
            return
        escalation = self.perception.escalation
        if not escalation.admits(self._camera):
            self._statistics.finished("skipped")
            return
        watch = Stopwatch()
        image = to_rgb(frame.message)
        focal_px = frame.info and focal_length_px(frame.info, image.shape[1], image.shape[0])
        if not focal_px:
            topics = self._without_metric(topics)
            focal_px = self._usual_focal_px(image.shape[1])
        due = frame.due + (frame.deadline_s if escalation.half_rate else 0.0)
        time_left_s = self._time_for_network(frame, due, watch)
        wanted = self._shown(topics)
        if not wanted:
            self._statistics.finished("idle")
            return
        result = self.perception.process(
            image, focal_px, time_left_s, wanted, may_skip=not self._dropped_last
        )
        done_at = watch.lap("perception")
        late = done_at + self._publishing.seconds > due
        network_s = self.perception.floor_seconds if result is None else done_at - watch.began
        self._climb(result, late and not self._publishing.exceeds(network_s), time_left_s)
        if result is None:
            self._drop("skipped")
            return
        if self._is_worthless(frame, done_at - due):
            self._drop("abandoned")
            return
        self._dropped_last = False
        self._last = Finished(frame.message.header, image, frame.info, result)
        published = self._publish(topics, self._last)
        watch.lap("publish")
        self._account(frame, self._last, topics, watch, published)

    def _time_for_network(self, frame: Frame, due: float, watch: Stopwatch) -> float:
        """Seconds that the network is planned for, of those until the outputs are due."""
        guard_s = self._settings.guard_ms * 1e-3
        now = watch.lap("decode")
        left_s = min(due, watch.began + frame.fair_s) - now - guard_s
        whole_s = min(due - frame.arrived, frame.fair_s) - guard_s
        return self._publishing.time_for_network(left_s, whole_s, self.perception.floor_seconds)

    def _publish(self, topics: frozenset[str], frame: Finished) -> Published:
        """All messages are made before any is sent: they appear together or not at all."""
        messages, seconds = {}, Stopwatch()
        for name in sorted(topics & OUTPUTS.keys()):
            message = OUTPUTS[name].render(frame, self._style)
            seconds.lap(name)
            if message is not None:
                messages[name] = message
        sent = self._publishers.publish(messages)
        return Published(
            {name: seconds.laps[name] + sent[name] for name in messages},
            {name: len(m.data) for name, m in messages.items() if hasattr(m, "data")},
        )

    def _is_worthless(self, frame: Frame, late_s: float) -> bool:
        """Whether a newer frame is worth more than this one; never two dropped in a row."""
        if self._settings.budget_mode == "fixed" or self._dropped_last:
            return False
        return late_s > _LATE_BEYOND_USE * frame.deadline_s

    def _drop(self, outcome: str) -> None:
        self._statistics.finished(outcome)
        self._dropped_last = True

    def _climb(self, result: FrameResult | None, late: bool, time_left_s: float) -> None:
        """Go down or up the ladder of escalation, as the last frame went, and say so."""
        if not self._settings.escalate or self._settings.budget_mode == "fixed":
            return
        budget = None if result is None else result.budget
        before = self.perception.escalation.rung
        rung = self.perception.ended(late, budget, time_left_s)
        if rung is not None and rung > before:
            self._logger.warning(f"deadline: {_DOWN_TO[rung]}")
        elif rung is not None:
            self._logger.info(f"deadline: {_UP_TO[rung]}")

    def _without_metric(self, topics: frozenset[str]) -> frozenset[str]:
        """The topics that make sense without calibration."""
        metric = {name for name in topics if name in OUTPUTS and OUTPUTS[name].metric}
        if metric:
            self._logger.warning(
                f"no calibrated CameraInfo: {', '.join(sorted(metric))} not published, "
                "for depth is metric only with the focal length",
                throttle_duration_sec=WARN_EVERY_S,
                skip_first=True,  # the first image may be a moment ahead of its CameraInfo
            )
        return topics - metric

    def _shown(self, topics: frozenset[str]) -> frozenset[str]:
        """What the network must deliver for these topics."""
        return parts_shown(topics, self.perception.session.manifest)

    def _usual_focal_px(self, image_width: int) -> float:
        """A focal length in the middle of what the model has been trained for."""
        manifest = self.perception.session.manifest
        low, high = manifest.focal_range
        return float(np.sqrt(low * high)) * image_width / manifest.width

    def _account(
        self,
        frame: Frame,
        done: Finished,
        topics: frozenset[str],
        watch: Stopwatch,
        published: Published,
    ) -> None:
        """Statistics, and the topics with figures."""
        now = time.perf_counter()
        self._publishing.observe(watch.laps["publish"])
        result, session = done.result, self.perception.session
        total_s, late = now - frame.arrived, now > frame.due
        stages = {
            "waiting": watch.began - frame.arrived,
            "decode": watch.laps["decode"],
            "resize": result.overhead_seconds,
            **dict(zip(session.stages, result.stage_seconds, strict=True)),
            "publish": watch.laps["publish"],
            "beyond_inference": total_s - sum(result.stage_seconds),
            "total": total_s,
        }
        self._statistics.processed(stages, late)
        network_s = sum(result.stage_seconds)
        parts = {
            "to_node": frame.age_s,
            "waiting": stages["waiting"],
            "prepare": watch.laps["decode"] + watch.laps["perception"] - network_s,
            "network": network_s,
            "publish": now - watch.began - watch.laps["decode"] - watch.laps["perception"],
        }
        self.last_budget = {
            **self._budget(frame, result, late),
            **{f"{part}_ms": 1e3 * seconds for part, seconds in parts.items()},
            "slowest_output": published.slowest(),
            "slow_publishing": late and self._is_late_by_publishing(watch, published),
        }
        figures = Figures(
            done.header, total_s * 1e3, (total_s + frame.age_s) * 1e3, self.last_budget
        )
        self._publishers.publish(
            {name: FIGURES[name].render(figures) for name in topics if name in FIGURES}
        )

    def _is_late_by_publishing(self, watch: Stopwatch, published: Published) -> bool:
        """Whether a late frame is late by publishing, which is also said in the log."""
        before_s = watch.laps["decode"] + watch.laps["perception"]
        if not self._publishing.exceeds(before_s):
            return False
        self._logger.warning(
            f"deadline: publishing takes {1e3 * watch.laps['publish']:.0f} ms, most of it "
            f"{published.slowest()}, and all before it {1e3 * before_s:.0f} ms: a subscriber has "
            "stopped or cannot keep up, or the output is too large; the network keeps its "
            "resolution and its rate",
            throttle_duration_sec=WARN_EVERY_S,
        )
        return True

    def _budget(self, frame: Frame, result: FrameResult, late: bool) -> dict[str, object]:
        controller = self.perception.controller
        return {
            "budget": result.budget,
            "density": result.density,
            "keep": " ".join(map(str, result.keep_used)),
            "keep_planned": " ".join(map(str, result.keep_planned)),
            "network_planned_ms": sum(result.planned_stage_seconds) * 1e3,
            "time_allowed_ms": min(frame.due - frame.arrived, frame.fair_s) * 1e3,
            "late": late,
            "slowdown": controller.slowdown,
            "margin": controller.margin,
        }


def _classes(settings: Settings, manifest: Manifest) -> tuple[LabelClass, ...]:
    """The model's classes in the colours that the user wants."""
    if not settings.palette:
        return manifest.classes
    return recolored(manifest.classes, Path(settings.palette).expanduser())
