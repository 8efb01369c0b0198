"""The way of a frame through the node, without DDS, on a clock that only the test moves.

The network, the controller and the messages are the real ones. The clock stands still but while the
network runs and while a message is sent, for as long as the test says.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from floor_scenes import FLOOR, FloorScene, look
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from ros_client import FOCAL_PX, camera_info, image, pixels_of
from std_msgs.msg import Header

from pag_ros.budget import Allowance, FrameTiming, Rung
from pag_ros.budget.deadline import LATE_BEYOND_USE
from pag_ros.budget.ladder import FAILURES_TO_STEP_DOWN
from pag_ros.budget.thinning import EVERY
from pag_ros.errors import ParameterError
from pag_ros.image.camera_info import Intrinsics
from pag_ros.manifest import Manifest
from pag_ros.ros.ground import GroundFrame
from pag_ros.ros.parameters import Settings
from pag_ros.ros.pipeline import CameraFrame, Pipeline
from pag_ros.ros.statistics import FrameStatistics
from pag_ros.runtime import Perception, camera_scale, open_perception
from pag_ros.runtime.scale_filter import ScaleSource

DEADLINE_S = 1.0
MASK, DEPTH, POINTS = "segmentation/mask", "depth/image", "points"


def settings(**changes: Any) -> Settings:
    """Of a node that keeps nothing for the outputs' way."""
    return Settings(**{"budget_mode": "deadline", "guard_ms": 0.0} | changes)


class Log:
    """A node's logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, **_: object) -> None:
        self.lines.append(text)

    warning = error = info

    def says(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class Bench:
    """A pipeline between a camera and listeners; stands in for `Publishers` itself.

    Attributes:
        now_s: the clock.
        network_s: what the network takes.
        sending_s: what the sending of a topic's messages takes; others take no time.
        topics: that are listened to.
        sent: topics of every frame that was published.
        depth: messages of the depth that were published.
        allowances: of every frame that the network was asked to process.
        scene: that `on_floor` has the network see.
    """

    def __init__(self, perception: Perception, settings: Settings) -> None:
        self.now_s, self.network_s = 1000.0, 0.1
        self.sending_s: dict[str, float] = {}
        self.topics = frozenset({MASK})
        self.sent: list[set[str]] = []
        self.depth: list[Any] = []
        self.allowances: list[Allowance | None] = []
        self.scene: FloorScene | None = None
        self.log, self.statistics = Log(), FrameStatistics()
        self.perception = perception
        self.process = perception.process
        self.pipeline = Pipeline(perception, self, self.statistics, settings, self.log)

    def subscribed(self) -> frozenset[str]:
        return self.topics

    def publish(self, messages: dict[str, Any]) -> dict[str, float]:
        if messages:
            self.sent.append(set(messages))
            self.depth += [messages[topic] for topic in messages if topic == DEPTH]
        taken = {topic: self.sending_s.get(topic, 0.0) for topic in messages}
        self.now_s += sum(taken.values())
        return taken

    def process_slowly(self, image, focal_px, allowance, *rest):
        self.allowances.append(allowance)
        self.now_s += self.network_s
        return self.process(image, focal_px, allowance, *rest)

    def frames_until_thinned(self) -> None:
        for _ in range(200):
            self.frame()
            if self.pipeline.last_report and self.pipeline.last_report.thinned_outputs:
                return
        raise AssertionError("no output is published less often")

    def frame(
        self, waited_s: float = 0.0, message: Any = None, info: Any = None, **timing: float
    ) -> str:
        """A frame that has waited in the mailbox; how the node counts it."""
        arrival = FrameTiming(self.now_s - waited_s, 0.0, DEADLINE_S)
        before = self.statistics.counts()
        message = image() if message is None else message
        frame = CameraFrame(message, info or camera_info(), replace(arrival, **timing))
        self.pipeline.handle(frame)
        after = self.statistics.counts()
        (outcome,) = (n for n in after if after[n] != before[n] and n != "late")
        return f"{outcome}, late" if after["late"] != before["late"] else outcome


@pytest.fixture
def bench(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1, escalate=True)
    bench = Bench(perception, settings())
    monkeypatch.setattr(perception, "process", bench.process_slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: bench.now_s)
    yield bench
    perception.close()


def test_a_frame_in_time_is_published(bench: Bench) -> None:
    assert bench.frame() == "processed"
    assert bench.sent == [{MASK}]
    assert bench.pipeline.last_report.late is False
    assert bench.pipeline.last_report.network_allowed_ms == pytest.approx(1000.0)


def test_the_slowest_output_is_told_with_the_bytes_of_its_message(bench: Bench) -> None:
    bench.topics = frozenset({MASK, POINTS})
    bench.sending_s = {POINTS: 0.02}
    assert bench.frame(message=image(np.zeros((480, 640, 3), np.uint8))) == "processed"
    # x, y, z, rgb, three of the normal and the label: 8 words of 4 bytes.
    assert 480 * 640 * 8 * 4 == 9_830_400
    assert bench.pipeline.last_report.slowest_output == "points (20 ms, 9.8 MB)"


def test_nothing_is_computed_while_nobody_listens(bench: Bench) -> None:
    bench.topics = frozenset({"depth/camera_info"})
    assert bench.frame() == "idle"
    bench.topics, bench.pipeline.enabled = frozenset({MASK}), False
    assert bench.frame() == "idle"
    assert bench.allowances == []


def test_a_message_that_is_no_image_is_counted_and_named(bench: Bench) -> None:
    message = image()
    message.encoding = "nonsense"
    assert bench.frame(message=message) == "bad"
    assert bench.log.says("image on image dropped: ")


def test_a_calibration_of_another_picture_costs_the_metric_outputs_alone(bench: Bench) -> None:
    bench.topics = frozenset({MASK, DEPTH, POINTS})
    assert bench.frame(info=camera_info(64, 36)) == "processed"
    assert bench.frame(info=camera_info(64, 36)) == "processed"
    assert bench.sent == [{MASK}, {MASK}]
    assert bench.log.says("camera_info is for 64x36 pixels, the image has 64x48")
    assert bench.log.says(": depth/image, points not published")
    bench.topics = frozenset({DEPTH})
    assert bench.frame(info=camera_info(64, 36)) == "idle"
    assert bench.frame() == "processed"


@pytest.mark.parametrize(
    ("changes", "timing", "network_s"),
    [
        ({}, {}, 1.0),
        ({}, {"waited_s": 0.3}, 0.7),
        ({}, {"age_s": 0.2}, 0.8),
        ({"guard_ms": 50.0}, {}, 0.95),
        ({}, {"fair_s": 0.4}, 0.4),
        ({"guard_ms": 50.0}, {"fair_s": 0.4, "waited_s": 0.3}, 0.35),
    ],
)
def test_the_network_has_the_time_that_the_frame_has_left(
    bench: Bench, changes: dict, timing: dict, network_s: float
) -> None:
    bench.pipeline.apply(settings(**changes))
    bench.frame(**timing)
    (allowance,) = bench.allowances
    assert allowance.network_s == pytest.approx(network_s)


def test_what_publishing_takes_is_kept_for_it(bench: Bench) -> None:
    bench.topics, bench.sending_s = frozenset({MASK, DEPTH}), {MASK: 0.1, DEPTH: 0.2}
    for _ in range(20):
        bench.frame()
    assert bench.allowances[-1].network_s == pytest.approx(0.7, abs=1e-3)
    bench.topics = frozenset({MASK})
    bench.frame()
    assert bench.allowances[-1].network_s == pytest.approx(0.9, abs=1e-3)


def test_a_late_frame_is_published_and_one_beyond_use_abandoned(bench: Bench) -> None:
    bench.network_s = DEADLINE_S * (1.0 + LATE_BEYOND_USE) - 0.01
    assert bench.frame() == "processed, late"
    assert bench.pipeline.last_report.late is True
    bench.network_s += 0.02
    assert bench.frame() == "abandoned"
    assert bench.frame() == "processed, late", "never two in a row"
    assert len(bench.sent) == 2


def test_a_frame_that_cannot_be_in_time_is_skipped_but_not_two_in_a_row(bench: Bench) -> None:
    bench.network_s = 0.0
    assert bench.frame(waited_s=DEADLINE_S) == "skipped"
    assert bench.frame(waited_s=DEADLINE_S) == "processed"


def test_a_slow_network_leads_down_the_ladder_and_half_rate_gives_a_second_deadline(
    bench: Bench,
) -> None:
    bench.pipeline.apply(settings(budget_min=1.0))
    bench.topics = frozenset({MASK, DEPTH})
    bench.network_s = 2.2 * DEADLINE_S
    while bench.perception.escalation.rung < Rung.HALF_RATE:
        bench.frame()
    assert bench.log.says("half the input resolution")
    assert bench.log.says("every second frame is left out")
    bench.network_s = 1.5 * DEADLINE_S
    outcomes = [bench.frame() for _ in range(6)]
    assert sorted(set(outcomes)) == ["processed, late", "skipped"]
    assert outcomes[::2] == [outcomes[0]] * 3
    assert bench.allowances[-1].network_s == pytest.approx(2.0 * DEADLINE_S, abs=1e-3)
    assert bench.perception.escalation.rung == Rung.HALF_RATE, "in time, at half the rate"
    assert not bench.log.says("publishing takes")
    assert bench.pipeline.last_report.thinned_outputs == ""


@pytest.mark.parametrize("changes", [{"budget_mode": "fixed"}, {"escalate": False}])
def test_who_wants_no_escalation_gets_none(bench: Bench, changes: dict) -> None:
    bench.pipeline.apply(settings(budget_min=1.0, **changes))
    bench.topics, bench.sending_s = frozenset({MASK, POINTS}), {POINTS: 3.0}
    for _ in range(20):
        bench.frame()
    assert bench.perception.escalation.rung == Rung.FULL
    assert {POINTS, MASK} in bench.sent[-2:]
    assert bench.log.says("publishing takes")
    assert not bench.log.says("published with one of")
    bench.network_s = 10.0 * DEADLINE_S
    for _ in range(20):
        bench.frame()
    assert bench.perception.escalation.rung == Rung.FULL


def test_with_a_fixed_budget_nothing_is_dropped(bench: Bench) -> None:
    bench.pipeline.apply(settings(budget_mode="fixed"))
    bench.network_s = 10.0 * DEADLINE_S
    assert [bench.frame() for _ in range(5)] == ["processed, late"] * 5


def test_a_slow_output_comes_less_often_and_costs_the_network_nothing(bench: Bench) -> None:
    bench.topics, bench.sending_s = frozenset({MASK, POINTS}), {POINTS: 3.0}
    bench.pipeline.apply(settings(budget_min=1.0))
    outcomes = [bench.frame() for _ in range(FAILURES_TO_STEP_DOWN * sum(EVERY))]
    assert bench.perception.escalation.rung == Rung.FULL
    assert bench.log.says("publishing takes 3000 ms, most of it points (3000 ms, ")
    assert bench.log.says(f"points is published with one of {EVERY[-1]} frames")
    assert bench.pipeline.last_report.thinned_outputs == f"points 1 of {EVERY[-1]}"
    late = [outcome == "processed, late" for outcome in outcomes]
    assert sum(late) == sum(POINTS in sent for sent in bench.sent)
    assert sum(late) < 5 * FAILURES_TO_STEP_DOWN
    assert all(MASK in sent for sent in bench.sent)
    assert all(allowance.network_s > 0.5 for allowance in bench.allowances)


def test_a_slow_output_comes_at_half_the_frame_rate_too(bench: Bench) -> None:
    bench.topics, bench.sending_s = frozenset({MASK, POINTS}), {POINTS: 3.0}
    for _ in range(FAILURES_TO_STEP_DOWN):
        bench.frame()
    for _ in range(2 * FAILURES_TO_STEP_DOWN):
        bench.perception.ended(late=True, budget=None, allowance=bench.allowances[-1])
    assert bench.perception.escalation.half_rate
    del bench.sent[:]
    for _ in range(4 * EVERY[1]):
        bench.frame()
    assert sum(POINTS in sent for sent in bench.sent) >= 2


def test_thinning_ends_with_the_wish_for_remedies(bench: Bench) -> None:
    bench.topics, bench.sending_s = frozenset({MASK, POINTS}), {POINTS: 3.0}
    bench.frames_until_thinned()
    bench.frame()
    while POINTS not in bench.sent[-1]:  # it is not due again in the next frame
        bench.frame()
    bench.pipeline.apply(settings(escalate=False))
    del bench.sent[:]
    for _ in range(5):
        bench.frame()
    assert bench.sent == [{MASK, POINTS}] * 5


def test_a_thinned_output_comes_always_where_the_others_make_no_sense(bench: Bench) -> None:
    bench.topics, bench.sending_s = frozenset({MASK, POINTS}), {MASK: 3.0}
    bench.frames_until_thinned()
    del bench.sent[:]
    uncalibrated = camera_info(64, 36)
    assert "idle" not in {bench.frame(info=uncalibrated) for _ in range(5)}
    assert bench.sent == [{MASK}] * 5


def test_the_accompanying_camera_info_is_never_left_out(bench: Bench) -> None:
    info = "depth/camera_info"
    bench.topics, bench.sending_s = frozenset({DEPTH, info, POINTS}), {POINTS: 3.0}
    for _ in range(30):
        bench.frame()
    assert {DEPTH, info} in bench.sent
    assert all({DEPTH, info} <= sent for sent in bench.sent)


def test_an_output_that_is_listened_to_alone_is_never_left_out(bench: Bench) -> None:
    bench.pipeline.apply(settings(budget_min=1.0))
    bench.topics, bench.sending_s = frozenset({POINTS}), {POINTS: 3.0}
    outcomes = {bench.frame() for _ in range(30)}
    assert outcomes == {"processed, late"}
    assert bench.perception.escalation.rung == Rung.FULL, "a faster network would not help"


HEIGHT_M, PITCH = 1.2, 25.0


def floor_scene() -> FloorScene:
    """What the tests' camera sees of a floor that fills the lower half of its picture."""
    return look(HEIGHT_M, PITCH, camera=Intrinsics(FOCAL_PX, FOCAL_PX, 32.0, 24.0), shape=(48, 64))


@pytest.fixture
def on_floor(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A network that sees the floor, but everything at four fifths of its distance."""
    session, scene = bench.perception.session, floor_scene()
    infer = session.infer

    def see(*arguments):
        prediction = infer(*arguments)
        return replace(
            prediction, depth=scene.depth * 0.8, normals=scene.normals, labels=scene.labels
        )

    monkeypatch.setattr(session, "infer", see)
    bench.scene = scene
    bench.topics = frozenset({DEPTH})
    bench.pipeline.apply(settings(camera_height=HEIGHT_M, camera_pitch=PITCH))
    return bench


def stamped(seconds: int) -> Any:
    message = image()
    message.header.stamp.sec = seconds
    return message


def published(bench: Bench) -> Any:
    return pixels_of(bench.depth[-1].to_message())


def test_the_depth_is_published_at_the_scale_of_the_floor(on_floor: Bench) -> None:
    assert on_floor.frame() == "processed"
    scene = floor_scene()
    is_floor = scene.labels == FLOOR
    assert published(on_floor)[is_floor] == pytest.approx(scene.depth[is_floor], rel=1e-3)
    scale = on_floor.pipeline.scale
    assert scale is not None
    assert scale.source is ScaleSource.FLOOR
    assert scale.factor == pytest.approx(1.25, rel=1e-3)


def test_the_range_of_the_depth_is_that_of_the_scaled_one(on_floor: Bench) -> None:
    """The wall is 6 m away, as the floor tells; the network itself says 4.8 m."""
    on_floor.pipeline.apply(settings(camera_height=HEIGHT_M, camera_pitch=PITCH, depth_max_m=5.0))
    on_floor.frame()
    assert published(on_floor)[0, 0] == float("inf")
    on_floor.pipeline.apply(settings(depth_max_m=5.0))
    on_floor.frame()
    assert published(on_floor)[0, 0] == pytest.approx(0.8 * floor_scene().depth[0, 0])


def test_without_a_height_the_depth_is_the_networks(on_floor: Bench) -> None:
    on_floor.pipeline.apply(settings())
    on_floor.frame()
    scene = floor_scene()
    assert published(on_floor)[40, 32] == pytest.approx(0.8 * scene.depth[40, 32])
    assert on_floor.pipeline.scale is None


def test_the_pitch_may_be_unknown(on_floor: Bench) -> None:
    on_floor.pipeline.apply(settings(camera_height=HEIGHT_M))
    on_floor.frame()
    assert on_floor.pipeline.scale.factor == pytest.approx(1.25, rel=1e-2)


def test_another_height_is_obeyed_at_once_and_another_budget_keeps_what_is_known(
    on_floor: Bench,
) -> None:
    known = {"camera_height": HEIGHT_M, "camera_pitch": PITCH}
    on_floor.frame(message=stamped(5))
    on_floor.pipeline.apply(settings(budget=0.5, **known))
    assert on_floor.pipeline.scale.source is ScaleSource.FLOOR
    on_floor.pipeline.apply(settings(**{**known, "camera_height": 1.5 * HEIGHT_M}))
    on_floor.frame(message=stamped(5))
    assert on_floor.pipeline.scale.factor == pytest.approx(1.875, rel=1e-3)


def test_ages_and_jumps_are_told_by_the_pictures_stamps(on_floor: Bench) -> None:
    on_floor.frame(message=stamped(5))
    on_floor.scene.normals[:] = 0.0
    on_floor.frame(message=stamped(7))
    scale = on_floor.pipeline.scale
    assert (scale.source, scale.age_s) == (ScaleSource.HELD, 2.0)
    on_floor.frame(message=stamped(1))
    assert on_floor.pipeline.scale.source is ScaleSource.NETWORK


def test_setting_the_scale_is_a_stage_and_time_is_kept_for_it(
    on_floor: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sight = camera_scale.sight_floor

    def sight_slowly(*arguments):
        on_floor.now_s += 0.05
        return sight(*arguments)

    monkeypatch.setattr(camera_scale, "sight_floor", sight_slowly)
    for _ in range(20):
        on_floor.frame()
    stages = on_floor.statistics.percentiles_ms()
    assert stages["scale"] == pytest.approx((50.0, 50.0, 50.0))
    assert stages["resize"] == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    assert on_floor.allowances[-1].network_s == pytest.approx(DEADLINE_S - 0.05, abs=1e-3)


def test_a_frame_without_depth_is_not_looked_at(on_floor: Bench) -> None:
    on_floor.topics = frozenset({MASK})
    on_floor.frame(info=camera_info(64, 36))
    assert on_floor.pipeline.scale.source is ScaleSource.NETWORK


def test_the_place_of_the_camera_may_come_from_transforms(on_floor: Bench) -> None:
    known = GroundFrame("base", on_floor.log)
    pipeline = Pipeline(
        on_floor.perception,
        on_floor,
        on_floor.statistics,
        settings(ground_frame="base"),
        on_floor.log,
        ground=known,
    )
    on_floor.pipeline = pipeline
    message = image()
    message.header.frame_id = "camera"
    on_floor.frame(message=message)
    assert pipeline.scale.source is ScaleSource.NETWORK
    assert on_floor.log.says("ground_frame: no transform camera -> base in /tf or /tf_static")
    known.enter(SimpleNamespace(transforms=[camera_above("base", "camera")]))
    on_floor.frame(message=message)
    assert pipeline.scale.factor == pytest.approx(1.25, rel=1e-3)


def camera_above(ground: str, camera: str) -> TransformStamped:
    """The place of the camera of `floor_scene`: turned about its x axis, from level to the pitch
    below it."""
    half = math.radians(-90.0 - PITCH) / 2.0
    return TransformStamped(
        header=Header(frame_id=ground),
        child_frame_id=camera,
        transform=Transform(
            translation=Vector3(x=3.0, y=-2.0, z=HEIGHT_M),
            rotation=Quaternion(x=math.sin(half), w=math.cos(half)),
        ),
    )


def test_a_model_without_normals_cannot_tell_the_floor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest: Manifest = bench.perception.session.manifest
    blind = replace(manifest, heads=("depth", "segmentation"))
    monkeypatch.setattr(bench.perception.session, "manifest", blind)
    Pipeline(bench.perception, bench, bench.statistics, settings(), bench.log)
    with pytest.raises(ParameterError, match="height is of no use to tiny, which has no normals"):
        Pipeline(bench.perception, bench, bench.statistics, settings(camera_height=1.0), bench.log)


def test_a_mode_that_the_session_cannot_do_is_refused_and_nothing_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.perception.session, "trims", False)
    before = bench.perception.settings
    changed = settings(budget_mode="adaptive", camera_height=1.0, camera_pitch=0.0)
    with pytest.raises(ParameterError, match="mode adaptive needs thresholds, which tiny lacks"):
        bench.pipeline.apply(changed)
    assert bench.perception.settings is before
    assert bench.pipeline._scaling._scale is None
