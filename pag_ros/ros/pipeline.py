"""The way of one frame through the node: decode, infer, make messages, publish, account for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from pag_ros.budget import Allowance, Conditions, FrameTiming, Outcome, Timekeeper, Verdict
from pag_ros.budget.outcomes import BAD, IDLE, SKIPPED
from pag_ros.errors import ImageError, ParameterError
from pag_ros.image.camera_info import focal_length_px
from pag_ros.image.messages import PictureMessage
from pag_ros.manifest import LabelClass, Manifest
from pag_ros.ros.budget_report import BudgetReport
from pag_ros.ros.converters import OWN, Converter
from pag_ros.ros.engine import controller_settings
from pag_ros.ros.figures import FIGURES, Figures
from pag_ros.ros.ground import GroundFrame
from pag_ros.ros.logger import Logger
from pag_ros.ros.messages import ArrayMessage
from pag_ros.ros.outputs import OUTPUTS, Finished, Style, maps_shown
from pag_ros.ros.palette import recolored
from pag_ros.ros.parameters import Settings
from pag_ros.ros.publishers import Publishers
from pag_ros.ros.publishing import Published
from pag_ros.ros.remedies import WARN_EVERY_S, Remedies
from pag_ros.ros.scaling import DepthScaling
from pag_ros.ros.snapshot import default_folder, save_snapshot
from pag_ros.ros.statistics import FrameStatistics
from pag_ros.ros.timing import Stopwatch
from pag_ros.runtime import Perception
from pag_ros.runtime.camera_scale import Rescale
from pag_ros.runtime.scale_filter import ScaleReport


@dataclass(frozen=True)
class CameraFrame:
    """A picture on its way through the node.

    Attributes:
        message: of the camera.
        info: the newest CameraInfo, None if none has come.
        timing: of the frame, on `time.perf_counter`.
    """

    message: PictureMessage
    info: CameraInfo | None
    timing: FrameTiming


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
        ground: tells the camera's height if `ground_frame` is set.
        converter: of camera messages to pictures.

    Raises:
        ParameterError: the palette cannot be used, or the model cannot tell where the floor is.
    """

    def __init__(
        self,
        perception: Perception,
        publishers: Publishers,
        statistics: FrameStatistics,
        settings: Settings,
        logger: Logger,
        camera: str = "",
        topic: str = "image",
        ground: GroundFrame | None = None,
        converter: Converter = OWN,
    ) -> None:
        self.enabled = True
        self.perception = perception
        self.last_report: BudgetReport | None = None
        self._publishers = publishers
        self._statistics = statistics
        self._logger = logger
        self._camera = camera
        self._topic = topic
        self._converter = converter
        self._settings = settings
        self._classes = _classes(settings, perception.session.manifest)
        self._style = self._styled(settings)
        self._last: Finished | None = None
        self._timekeeper = Timekeeper()
        self._remedies = Remedies(perception, logger)
        self._scaling = DepthScaling(perception.session.manifest, settings, ground, logger)

    def apply(self, settings: Settings) -> None:
        """Obey new parameters from the next frame on.

        Raises:
            ParameterError: the model cannot tell where the floor is, though they need it, or has
                no thresholds where it runs.
        """
        self.perception.require(controller_settings(settings))
        self._scaling.apply(settings)
        self._settings = settings
        self._style = self._styled(settings)
        self.perception.settings = controller_settings(settings)

    def handle(self, frame: CameraFrame) -> None:
        """Process a frame, whatever it is: no message may end the node."""
        try:
            self._process(frame)
        except ImageError as error:
            self._statistics.finished(BAD)
            self._logger.warning(
                f"image on {self._topic} dropped: {error}", throttle_duration_sec=WARN_EVERY_S
            )
        except Exception as error:
            self._statistics.finished(BAD)
            reason = " ".join(str(error).split())
            self._logger.error(
                f"image on {self._topic} dropped: {type(error).__name__}: {reason}",
                throttle_duration_sec=WARN_EVERY_S,
            )

    @property
    def scale(self) -> ScaleReport | None:
        """Which scale the depth of the last frame has; None if it is the network's always."""
        return self._scaling.report

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
            points_stride=settings.points_stride,
        )

    def _process(self, frame: CameraFrame) -> None:
        """Message -> allowance -> plan and network -> verdict -> outputs -> accounts."""
        wanted = self._publishers.subscribed() if self.enabled else frozenset()
        if not self._maps(wanted):
            self._statistics.finished(IDLE)
            return
        if not self.perception.escalation.admits(self._camera):
            self._statistics.finished(SKIPPED)
            return
        watch = Stopwatch()
        image = self._converter.to_rgb(frame.message)
        possible, focal_px = self._calibrated(wanted, frame.info, image)
        if not self._maps(possible):
            self._statistics.finished(IDLE)
            return
        topics = self._topics_of_next_frame(possible)
        decoded_s = watch.lap("decode")
        conditions = self._conditions(topics)
        allowance = self._timekeeper.allow(frame.timing, watch.began, decoded_s, conditions)
        maps = self._maps(topics)
        rescale = self._rescale(frame, image, watch.began) if "depth" in maps else None
        result = self.perception.process(
            image, focal_px, allowance, maps, rescale, self._settings.output_scale
        )
        inferred_s = watch.lap("perception")
        ran = None if result is None else result.ran
        verdict = self._timekeeper.judge(allowance, inferred_s, ran)
        if self._remedied:
            self._remedies.after_network(verdict, allowance, result)
        if result is None or verdict.is_dropped:
            self._statistics.finished(verdict.outcome.value)
            return
        self._last = Finished(frame.message.header, image, frame.info, result)
        published = self._publish(topics, self._last)
        out_s = watch.lap("publish")
        verdict = self._timekeeper.published(allowance, inferred_s, out_s, published.seconds)
        self._remedies.after_publishing(verdict, published, self._remedied)
        self._account(frame, allowance, topics, watch, published, verdict)

    def _rescale(
        self, frame: CameraFrame, image: NDArray[np.uint8], began_s: float
    ) -> Rescale | None:
        """What sets the scale of the depth, of a picture whose camera is calibrated."""
        height, width = image.shape[:2]
        return self._scaling.of_frame(frame.message.header, frame.info, width, height, began_s)

    @property
    def _remedied(self) -> bool:
        """Whether late frames lead to less work."""
        return self._settings.escalate and self._settings.budget_mode != "fixed"

    def _conditions(self, topics: frozenset[str]) -> Conditions:
        return Conditions(
            floor_s=self.perception.floor_seconds,
            outputs=topics & OUTPUTS.keys(),
            half_rate=self.perception.escalation.half_rate,
            drops=self._settings.budget_mode != "fixed",
            guard_s=self._settings.guard_ms * 1e-3,
        )

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
            {name: m.content.nbytes for name, m in messages.items() if isinstance(m, ArrayMessage)},
        )

    def _topics_of_next_frame(self, possible: frozenset[str]) -> frozenset[str]:
        """What the next frame publishes of it; topics that only accompany others always come."""
        if not self._remedied:
            return possible
        outputs = frozenset(name for name in possible if name in OUTPUTS and OUTPUTS[name].needs)
        return (possible - outputs) | self._remedies.outputs_of_next_frame(outputs)

    def _calibrated(
        self, topics: frozenset[str], info: CameraInfo | None, image: NDArray[np.uint8]
    ) -> tuple[frozenset[str], float]:
        """The topics that make sense with what is known of the camera, and its focal length.

        Where that is not known: one in the middle of what the model has learned.
        """
        height, width = image.shape[:2]
        reason, focal_px = "no calibrated CameraInfo", None
        try:
            focal_px = info and focal_length_px(info, width, height)
        except ImageError as error:
            reason = str(error)
        if focal_px:
            return topics, focal_px
        manifest = self.perception.session.manifest
        low, high = manifest.focal_range
        usual_px = float(np.sqrt(low * high)) * width / manifest.width
        return self._without_metric(topics, reason), usual_px

    def _without_metric(self, topics: frozenset[str], reason: str) -> frozenset[str]:
        """The topics that make sense without calibration."""
        metric = {name for name in topics if name in OUTPUTS and OUTPUTS[name].metric}
        if metric:
            self._logger.warning(
                f"{reason}: {', '.join(sorted(metric))} not published, "
                "for depth is metric only with the focal length",
                throttle_duration_sec=WARN_EVERY_S,
                skip_first=True,  # the first image may be a moment ahead of its CameraInfo
            )
        return topics - metric

    def _maps(self, topics: frozenset[str]) -> frozenset[str]:
        """What the network must deliver for these topics."""
        return maps_shown(topics, self.perception.session.manifest)

    def _account(
        self,
        frame: CameraFrame,
        allowance: Allowance,
        topics: frozenset[str],
        watch: Stopwatch,
        published: Published,
        verdict: Verdict,
    ) -> None:
        """Statistics, and the topics with figures."""
        assert self._last is not None
        result, session, timing = self._last.result, self.perception.session, frame.timing
        ended_s = watch.began + sum(watch.laps.values())
        total_s = ended_s - timing.arrived_s
        late = verdict.outcome is Outcome.LATE
        network_s = sum(result.stage_seconds)
        waiting_s = watch.began - timing.arrived_s
        self._statistics.processed(
            {
                "waiting": waiting_s,
                "decode": watch.laps["decode"],
                "resize": result.ran.resizing_s - result.scaling_s,
                "scale": result.scaling_s,
                **dict(zip(session.stages, result.stage_seconds, strict=True)),
                "publish": watch.laps["publish"],
                "beyond_inference": total_s - network_s,
                "total": total_s,
            },
            late,
        )
        controller = self.perception.controller
        self.last_report = BudgetReport(
            budget=result.budget,
            density=result.density,
            keep=result.keep_used,
            keep_planned=result.keep_planned,
            network_planned_ms=sum(result.planned_stage_seconds) * 1e3,
            network_allowed_ms=allowance.network_s * 1e3,
            time_allowed_ms=min(timing.due_s - timing.arrived_s, timing.fair_s) * 1e3,
            late=late,
            slowdown=controller.slowdown,
            margin=controller.margin,
            to_node_ms=timing.age_s * 1e3,
            waiting_ms=waiting_s * 1e3,
            prepare_ms=(watch.laps["decode"] + watch.laps["perception"] - network_s) * 1e3,
            network_ms=network_s * 1e3,
            publish_ms=watch.laps["publish"] * 1e3,
            slowest_output=published.slowest,
            slow_publishing=verdict.is_late_by_publishing,
            thinned_outputs=_describe_thinned(self._remedies.thinned),
        )
        figures = Figures(
            self._last.header, total_s * 1e3, (total_s + timing.age_s) * 1e3, self.last_report
        )
        self._publishers.publish(
            {name: FIGURES[name].render(figures) for name in topics if name in FIGURES}
        )


def _describe_thinned(thinned: Mapping[str, int]) -> str:
    """Outputs that are published less often, "points 1 of 4"; empty if there are none."""
    return ", ".join(f"{name} 1 of {every}" for name, every in sorted(thinned.items()))


def _classes(settings: Settings, manifest: Manifest) -> tuple[LabelClass, ...]:
    """The model's classes in the colours that the user wants."""
    if not settings.palette:
        return manifest.classes
    return recolored(manifest.classes, Path(settings.palette).expanduser())
