"""The lifecycle node `pag_perception`: ROS state here, everything else in the modules beside it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from pag_ros.budget import Schedule
from pag_ros.budget.outcomes import IDLE, LOST, SUPERSEDED
from pag_ros.errors import PagError, ParameterError
from pag_ros.image.camera_info import calibration_fault
from pag_ros.image.messages import PictureMessage
from pag_ros.image.rectification import lens_remark
from pag_ros.ros import diagnostics
from pag_ros.ros.camera_info import described
from pag_ros.ros.channel import Channel
from pag_ros.ros.converters import OWN, choose_converter
from pag_ros.ros.engine import log_cut_off, open_perception, recalibrate
from pag_ros.ros.figures import FIGURES
from pag_ros.ros.graph import find_calibration_topic, pictures_of_others
from pag_ros.ros.ground import GroundFrame
from pag_ros.ros.input_topics import picture_topics
from pag_ros.ros.memory import freeze_garbage_collector, unfreeze_garbage_collector
from pag_ros.ros.outputs import outputs_of
from pag_ros.ros.parameters import (
    DEFAULTS,
    RULES,
    Change,
    Settings,
    camera_names,
    describe_unknown,
    updated,
)
from pag_ros.ros.pipeline import CameraFrame, Pipeline
from pag_ros.ros.publishers import Publishers, topic_of
from pag_ros.ros.remedies import WARN_EVERY_S
from pag_ros.ros.statistics import FrameStatistics
from pag_ros.ros.subscriptions import CameraSubscription
from pag_ros.ros.transport import explain_loss
from pag_ros.ros.worker import Worker
from pag_ros.runtime import Perception
from pag_ros.runtime.machine_state import clock_ratio, read_machine_state

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

USE_SIM_TIME = "use_sim_time"
ROS_PARAMETERS = frozenset({USE_SIM_TIME, "start_type_description_service"})
"""Those that rclpy declares for every node."""

QOS_OVERRIDES = "qos_overrides."
"""Begins the parameters that are declared with a topic of theirs, some when the node activates."""

FOLLOW_PERIOD_S = 0.2
"""Between two looks at who publishes, and how reliably. A look takes a tenth of a millisecond."""

NUMBERED = hasattr(Subscription, "CallbackType")
"""Whether callbacks may ask for the message's number: Jazzy's may, Humble's may not."""

_Job = tuple[Channel, CameraFrame]
"""A frame with the state of its camera."""

Transition = Callable[["PerceptionNode", LifecycleState], TransitionCallbackReturn]

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class Answer(Protocol):
    """The response of one of our services."""

    success: bool
    message: str


_Reply = TypeVar("_Reply", bound=Answer)


def _reported(transition: Transition) -> Transition:
    """Log why a transition fails: rclpy swallows the exceptions of these callbacks."""

    @functools.wraps(transition)
    def wrapper(self: PerceptionNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except PagError as error:
            self.get_logger().error(f"{transition.__name__[3:]} failed: {error}")
        except Exception as error:
            self.get_logger().error(
                f"{transition.__name__[3:]} failed: {type(error).__name__}: {error}"
            )
        self._stop_listening()
        return FAILURE

    return wrapper


class PerceptionNode(LifecycleNode):
    """Camera images in; depth, normals and segmentation out, before a deadline.

    Raises:
        ParameterError: a parameter's start value is refused.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__(
            "pag_perception", automatically_declare_parameters_from_overrides=True, **node_options
        )
        self._given = self._take_given_parameters()
        self._settings = self._declare_parameters()
        self.add_on_set_parameters_callback(self._on_parameters)
        self._worker: Worker[_Job] | None = None
        self._stopped = threading.Event()
        self._perception: Perception | None = None
        self._channels: list[Channel] = []
        self._schedule = Schedule()
        self._reports: Publishers | None = None
        self._diagnostics_timer: Timer | None = None
        self._follow_timer: Timer | None = None
        self._machine = read_machine_state()
        self._ground: GroundFrame | None = None
        self._converter = OWN
        self._transforms: list[Subscription] = []
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self.create_service(Trigger, "~/calibrate", self._on_calibrate)
        self.create_service(Trigger, "~/save_snapshot", self._on_save_snapshot)
        self._guard_services()

    @property
    def full_name(self) -> str:
        """The node's name with its namespace, without the first slash: "front/pag_perception"."""
        return str(self.get_fully_qualified_name()).lstrip("/")

    @property
    def autostart(self) -> bool:
        """Whether the node is to configure and activate by itself."""
        return self._settings.autostart

    @property
    def build_only(self) -> bool:
        """Whether all that is asked for is an engine for the GPU."""
        return self._settings.build_only

    def release(self) -> None:
        """Free all that configuring and activating made; does nothing where there is nothing."""
        self._stopped.set()  # an engine may still be in the making
        unfreeze_garbage_collector()
        self._stop_listening()
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = None
        for publishers in (self._reports, *(channel.publishers for channel in self._channels)):
            if publishers is not None:
                publishers.destroy()
        self._reports, self._channels = None, []
        for subscription in self._transforms:
            self.destroy_subscription(subscription)
        self._ground, self._transforms = None, []
        worker, perception = self._worker, self._perception
        self._worker = self._perception = None
        if worker is not None:
            closing = worker.call(perception.close) if perception is not None else None
            worker.stop()
            if closing is not None:
                closing.result()

    # Life cycle, in its order. SUCCESS moves on, FAILURE stays in the state before.

    @_reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and announce the outputs."""
        began = time.perf_counter()
        try:
            self._configure()
        except Exception:
            self.release()
            raise
        assert self._perception is not None
        session = self._perception.session
        self.get_logger().info(
            f"configured in {time.perf_counter() - began:.1f} s: {session.manifest.name} "
            f"({session.manifest.width}x{session.manifest.height}) on {session.backend}"
        )
        return SUCCESS

    @_reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the cameras."""
        for channel in self._channels:
            self._listen(channel)
        # On a clock that never stands still, as simulated time may.
        self._follow_timer = self.create_timer(
            FOLLOW_PERIOD_S, self._follow_publishers, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._tell_unused_qos_overrides()
        heard = [each.describe() for channel in self._channels for each in channel.subscriptions]
        self.get_logger().info(f"active, listening to {'; '.join(heard)}")
        clock = self.resolve_topic_name("/clock")
        if self._sim_time and self.count_publishers(clock) == 0:
            self.get_logger().warning(
                f"use_sim_time is true, but nobody publishes {clock} yet: "
                "until then there are no /diagnostics"
            )
        return SUCCESS

    @_reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening; the frame in work is finished first."""
        self._stop_listening()
        self.get_logger().info("inactive")
        return SUCCESS

    @_reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and everything else that configuring made."""
        self.release()
        self.get_logger().info("unconfigured")
        return SUCCESS

    @_reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whichever state."""
        self.release()
        self.get_logger().info("shut down")
        return SUCCESS

    @_reported
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything; the node can be configured again."""
        self.release()
        return SUCCESS

    def _configure(self) -> None:
        self._worker = Worker(_handle)
        self._stopped.clear()
        opening = self._worker.call(
            functools.partial(
                open_perception, self._settings, self.get_logger().info, self._stopped.is_set
            )
        )
        self._perception = opening.result()
        self._converter = choose_converter()
        self._reports = Publishers(self, {"/diagnostics": DiagnosticArray})
        if self._settings.ground_frame:
            self._ground = GroundFrame(self._settings.ground_frame, self.get_logger())
            self._transforms = self._ground.subscribe(self)
        for name in camera_names(self._settings.cameras):
            self._channels.append(self._channel(name, self._perception))
        self._diagnostics_timer = self.create_timer(
            self._settings.diagnostics_period_s, self._publish_diagnostics
        )
        freeze_garbage_collector()

    def _channel(self, name: str, perception: Perception) -> Channel:
        """A camera with its outputs."""
        manifest = perception.session.manifest
        types = {topic: output.message_type for topic, output in outputs_of(manifest).items()}
        types.update({topic: figure.message_type for topic, figure in FIGURES.items()})
        publishers, statistics = Publishers(self, types, name), FrameStatistics()
        # A logger of its own: what is said once in a while is so for each camera.
        logger = self.get_logger().get_child(name) if name else self.get_logger()
        image_base = self.resolve_topic_name(topic_of(name, "image"))
        try:
            pipeline = Pipeline(
                perception,
                publishers,
                statistics,
                self._settings,
                logger,
                name,
                image_base,
                self._ground,
                self._converter,
            )
            if "segmentation" in manifest.heads:
                publishers.latch_labels(manifest.classes)
        except Exception:
            publishers.destroy()
            raise
        return Channel(name, image_base, publishers, statistics, pipeline)

    def _listen(self, channel: Channel) -> None:
        """Subscribe to a camera's topics."""
        compressed = self._settings.image_transport == "compressed"
        images = picture_topics(channel.image_base, compressed)
        on_image = self._on_numbered_image if NUMBERED else self._on_image
        channel.start(self._now_s())
        for message_type, topics, callback, on_lost in (
            (
                CompressedImage if compressed else Image,
                images,
                on_image,
                self._on_lost_images,
            ),
            (
                CameraInfo,
                (find_calibration_topic(self, channel.name, channel.image_base),),
                self._on_camera_info,
                self._on_lost_infos,
            ),
        ):
            channel.subscriptions.append(
                CameraSubscription(
                    self,
                    message_type,
                    topics,
                    functools.partial(callback, channel),
                    functools.partial(on_lost, channel),
                )
            )

    def _follow_publishers(self) -> None:
        """Have every subscription listen where, and as reliably as, its publishers publish now."""
        for channel in self._channels:
            for subscription in channel.subscriptions:
                if subscription.follow():
                    self.get_logger().info(f"now listening to {subscription.describe()}")

    def _stop_listening(self) -> None:
        if self._follow_timer is not None:
            self.destroy_timer(self._follow_timer)
            self._follow_timer = None
        for channel in self._channels:
            channel.stop()
            self._schedule.stopped(channel.name)
        if self._worker is not None:
            for dropped, _ in self._worker.drain():
                dropped.statistics.finished(IDLE)

    def _guard_services(self) -> None:
        """Have every service answer whatever its callback raises; the answer is then an empty one.

        rclpy lets an error out of the service instead, of its own services as well (an impossible
        transition, a parameter of an unknown type): it ends `spin`, and with it the process.
        """
        for service in self.services:
            service.callback = self._guarded(service.srv_name, service.callback)

    def _guarded(
        self, name: str, callback: Callable[[_Request, _Response], _Response]
    ) -> Callable[[_Request, _Response], _Response]:
        def answer(request: _Request, response: _Response) -> _Response:
            try:
                return callback(request, response)
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self.get_logger().warning(f"request of {name} refused: {reason}")
                return response

        return answer

    # Frames.

    def _on_numbered_image(
        self, channel: Channel, message: PictureMessage, info: Mapping[str, int]
    ) -> None:
        """Also account for the images that newer ones have replaced in the DDS queue."""
        replaced = channel.gaps.arrived(info["publication_sequence_number"])
        # With several publishers the numbers of one say nothing of the other's.
        if replaced and self.count_publishers(channel.image_topic) == 1:
            channel.statistics.received(replaced)
            channel.statistics.finished(SUPERSEDED, replaced)
        self._on_image(channel, message)

    def _on_lost_images(self, channel: Channel, images: int) -> None:
        channel.gaps.lost(images)
        channel.statistics.lost(images)
        if channel.arrivals is not None:
            channel.arrivals.lost(images)
        reason = explain_loss(get_rmw_implementation_identifier(), channel.reliable)
        self.get_logger().warning(
            f"{channel.statistics.counts()[LOST]} images on {channel.image_topic} were "
            f"lost on their way: {reason}",
            throttle_duration_sec=WARN_EVERY_S,
        )

    def _on_lost_infos(self, channel: Channel, infos: int) -> None:
        """Calibrations are small, and the next one says the same."""

    def _on_image(self, channel: Channel, message: PictureMessage) -> None:
        arrived = time.perf_counter()
        if self._worker is None or channel.arrivals is None:
            return
        now_s = self._now_s()
        channel.statistics.received()
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        channel.arrivals.arrived(now_s, stamp_s)
        timing = self._schedule.arrived(
            channel.name, arrived, stamp_s, now_s, self._wanted_deadline_s, self._sim_time
        )
        frame = CameraFrame(message, channel.info, timing)
        if self._worker.submit((channel, frame), channel.name, timing.due_s) is not None:
            channel.statistics.finished(SUPERSEDED)

    def _on_camera_info(self, channel: Channel, message: CameraInfo) -> None:
        channel.info = message

    @property
    def _wanted_deadline_s(self) -> float:
        """The deadline that the user wants; 0 for the camera's period."""
        return self._settings.deadline_ms * 1e-3

    @property
    def _sim_time(self) -> bool:
        return bool(self.get_parameter(USE_SIM_TIME).value)

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    # Services.

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        if not self._channels:
            return _answer(response, False, "not configured")
        for channel in self._channels:
            channel.pipeline.enabled = request.data
        return _answer(response, True, "enabled" if request.data else "disabled: frames are idle")

    def _on_calibrate(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Takes some ten seconds, during which the node does nothing else."""
        self.get_logger().info("calibrating; frames that come meanwhile are dropped")
        return self._on_worker(recalibrate, response)

    def _on_save_snapshot(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        return self._on_worker(lambda _: _save_snapshots(self._channels), response)

    def _on_worker(
        self, job: Callable[[Perception], str], response: Trigger.Response
    ) -> Trigger.Response:
        """Answer a request with a job's result, or with why there is none."""
        if self._worker is None or self._perception is None or not self._channels:
            return _answer(response, False, "not configured")
        try:
            done = self._worker.call(functools.partial(job, self._perception)).result()
            return _answer(response, True, done)
        except PagError as error:
            return _answer(response, False, str(error))
        except Exception as error:  # an error that leaves a service would end the process
            return _answer(response, False, f"{type(error).__name__}: {error}")

    # Parameters.

    def _take_given_parameters(self) -> frozenset[str]:
        """The names of the parameters that file, command line or launch have given.

        rclpy tells them only by declaring them. Taken back, those that we have can be declared with
        their descriptors, and the others are not lost without a word.

        Raises:
            ParameterError: use_sim_time is neither true nor false.
        """
        sim_time = self.get_parameter(USE_SIM_TIME).value
        if not isinstance(sim_time, bool):
            raise ParameterError(f"{USE_SIM_TIME} must be true or false, got {sim_time!r}")
        given = frozenset(self.get_parameters_by_prefix("").keys() - ROS_PARAMETERS)
        for name in sorted(given):
            self.undeclare_parameter(name)
            if name not in RULES and not name.startswith(QOS_OVERRIDES):
                self.get_logger().warning(describe_unknown(name, RULES))
        return given

    def _tell_unused_qos_overrides(self) -> None:
        """Warn of overrides for topics that the node does not have; after the last is declared."""
        declared = self.get_parameters_by_prefix("").keys()
        heard = [each for channel in self._channels for each in channel.subscriptions]
        # Declared only once they are listened to.
        others = [topic for each in heard for topic in each.topics if topic != each.topic]
        later = tuple(f"{QOS_OVERRIDES}{topic}." for topic in others)
        for name in sorted(self._given - declared):
            if name.startswith(QOS_OVERRIDES) and not name.startswith(later):
                self.get_logger().warning(describe_unknown(name, declared))

    def _declare_parameters(self) -> Settings:
        values = {}
        for name, default in DEFAULTS.items():
            try:
                values[name] = self.declare_parameter(name, default, _descriptor(name)).value
            except Exception as error:
                raise ParameterError(str(error)) from error
        return updated(Settings(), values, configured=False)

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name in RULES}
        try:
            settings = updated(self._settings, changes, configured=bool(self._channels))
            for channel in self._channels:
                channel.pipeline.apply(settings)
        except PagError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = settings
        return SetParametersResult(successful=True)

    # Diagnostics.

    def _publish_diagnostics(self) -> None:
        if self._perception is None or self._reports is None:
            return
        self._watch_clock(self._perception)
        statuses = [status for channel in self._channels for status in self._statuses(channel)]
        perception = self._perception
        sizes = [planned.session.manifest for planned in perception.sessions]
        cut_off = "; ".join(filter(None, map(log_cut_off, perception.sessions)))
        statuses.append(
            diagnostics.engine_status(perception.session, self._machine, sizes, cut_off)
        )
        diagnostics.sign(statuses, self.full_name)
        report = DiagnosticArray(status=statuses)
        report.header.stamp = self.get_clock().now().to_msg()
        self._reports.publish({"/diagnostics": report})

    def _statuses(self, channel: Channel) -> list[DiagnosticStatus]:
        settings, statistics = self._settings, channel.statistics
        rung = channel.pipeline.perception.escalation.rung
        heard = self._input(channel)
        self._tell_problem(channel, heard)
        return diagnostics.of_camera(
            channel.name,
            [
                diagnostics.input_status(heard, settings.diagnostics_no_image_s),
                diagnostics.deadline_status(
                    statistics.miss_rate(),
                    self._schedule.deadline_s(channel.name, self._wanted_deadline_s) * 1e3,
                    statistics.percentiles_ms(),
                    settings.diagnostics_miss_warn,
                    settings.diagnostics_miss_error,
                ),
                diagnostics.budget_status(channel.pipeline.last_report, rung),
                diagnostics.scale_status(channel.pipeline.scale),
                diagnostics.counters_status(statistics.counts()),
            ],
        )

    def _watch_clock(self, perception: Perception) -> None:
        """Tell the controller at once when the machine visibly changes its clock."""
        before, self._machine = self._machine, read_machine_state()
        ratio = clock_ratio(before, self._machine, perception.session.device)
        if ratio is not None and self._worker is not None:
            self.get_logger().info(f"the clock has changed: expecting {ratio:.2f} times as long")
            self._worker.call(functools.partial(perception.rescale, ratio))

    def _tell_problem(self, channel: Channel, heard: diagnostics.Input) -> None:
        """Say in the log, once, what keeps outputs from coming: not everybody has a monitor."""
        problem = diagnostics.input_problem(heard, self._settings.diagnostics_no_image_s)
        text = channel.problems.news(problem)
        if text is not None:
            self.get_logger().warning(f"{channel.name} {text}".lstrip())

    def _input(self, channel: Channel) -> diagnostics.Input:
        topic = channel.image_topic
        compressed = self._settings.image_transport == "compressed"
        arrivals = channel.arrivals.report(self._now_s()) if channel.arrivals else None
        info = channel.info
        types = [p.topic_type for p in self.get_publishers_info_by_topic(topic)]
        return diagnostics.Input(
            topic=topic,
            expected_type=f"sensor_msgs/msg/{'CompressedImage' if compressed else 'Image'}",
            published_types=types,
            arrivals=arrivals,
            reliable=channel.reliable,
            camera=info and described(info),
            fault=(info and calibration_fault(info)) or "",
            lens=(info and lens_remark(info, topic)) or "",
            info_topic=channel.info_topic,
            elsewhere=[] if types else pictures_of_others(self),
            converter=self._converter.name,
        )


def _handle(job: _Job) -> None:
    channel, frame = job
    channel.pipeline.handle(frame)


def _save_snapshots(channels: Sequence[Channel]) -> str:
    """Write every camera's last frame; the files.

    Raises:
        ImageError: no camera has had a frame yet.
        ParameterError: the folder cannot be written.
    """
    ready = [channel for channel in channels if channel.pipeline.has_frame] or channels
    files = [path for channel in ready for path in channel.pipeline.save_snapshot()]
    return ", ".join(map(str, files))


def _answer(response: _Reply, success: bool, message: str) -> _Reply:
    response.success, response.message = success, message
    return response


def _descriptor(name: str) -> ParameterDescriptor:
    rule, default = RULES[name], DEFAULTS[name]
    constraints = [f"set {rule.change.value}"]
    if rule.choices:
        constraints.insert(0, f"one of {', '.join(rule.choices)}")
    descriptor = ParameterDescriptor(
        description=rule.text,
        additional_constraints="; ".join(constraints),
        read_only=rule.change is Change.AT_START,
        # So that `budget: 1` is as good as `budget: 1.0`; types are checked in `updated`.
        dynamic_typing=isinstance(default, float),
    )
    if isinstance(default, float):
        limits = FloatingPointRange(from_value=rule.low, to_value=rule.high)
        descriptor.floating_point_range = [limits]
    elif isinstance(default, int) and not isinstance(default, bool):
        descriptor.integer_range = [IntegerRange(from_value=int(rule.low), to_value=int(rule.high))]
    return descriptor
