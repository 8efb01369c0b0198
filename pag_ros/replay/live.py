"""Replay a bag through the live node: real pacing, real DDS, another process.

Images are sent as a camera would send them, stamped with the moment of sending; what comes back is
held against that stamp. Logic and books are in pag_ros.replay.live_log, this is the ROS part.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown

from pag_ros.errors import BagError, ImageError, ParameterError
from pag_ros.evaluation.bags import TRUTH_READERS, Bag, Topics, printable, read_pixels
from pag_ros.evaluation.matching import Recorded
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.evaluation.results import Evaluation, about_software
from pag_ros.image.decode import to_rgb
from pag_ros.manifest import load_manifest
from pag_ros.replay.live_log import LiveLog, evaluate, worth_keeping
from pag_ros.replay.node_process import NodeProcess
from pag_ros.replay.player import NODE_NAME, Playback, Player, TimedImage
from pag_ros.ros.memory import keep_freed_memory
from pag_ros.ros.parameters_file import require_section
from pag_ros.ros.transport import prepare_for_images
from pag_ros.runtime import find_model
from pag_ros.runtime.models import DEFAULT_MODEL
from pag_ros.runtime.network_size import Size, resized, size_text

DEFAULT_PERIOD_S = 0.1
"""Time between two images that is assumed for a bag with a single one."""


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how.

    Attributes:
        bag: folder or file.
        out: folder for the node's log.
        topics: of the bag; found by their contents where None.
        model, device: for the node, see its parameters.
        size: (width, height) that the network runs at; None: the model's own, or as `params_file`
            says.
        rate: 2.0 plays twice as fast.
        loops: how often to play the bag.
        deadline_ms: from an image's stamp to its outputs; None: the time between two images.
        params_file: further node parameters.
        start_node: False takes the node that runs already, in `namespace`.
        namespace: of the node; None: a new one, so that no other node gets in the way.
        camera: of a node that has several, which one to play; empty for the only one.
        protocol: which true depths count.
        tolerance_ns: how far truth may be stamped from its image, see `matching.find_matching`.
        depth_scale: metres per unit of recorded depth, see `Bag`.
        camera_height, camera_pitch: for the node, see its parameters; None: as `params_file` says.
        progress: called after each image sent.
    """

    bag: Path
    out: Path
    topics: Topics = field(default_factory=Topics)
    model: str = DEFAULT_MODEL
    device: str = "auto"
    size: Size | None = None
    rate: float = 1.0
    loops: int = 1
    deadline_ms: float | None = None
    params_file: Path | None = None
    start_node: bool = True
    namespace: str | None = None
    camera: str = ""
    protocol: DepthProtocol | None = None
    tolerance_ns: int | None = None
    depth_scale: float | None = None
    camera_height: float | None = None
    camera_pitch: float | None = None
    progress: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        """Check the numbers; raises ParameterError."""
        if not 0.01 <= self.rate <= 100.0:
            raise ParameterError(f"rate must lie in 0.01..100, got {self.rate}")
        if not 1 <= self.loops <= 10_000:
            raise ParameterError(f"loop must lie in 1..10000, got {self.loops}")
        if self.deadline_ms is not None and not 1.0 <= self.deadline_ms <= 10_000.0:
            raise ParameterError(f"deadline must lie in 1..10000 ms, got {self.deadline_ms}")
        if self.params_file is not None and not self.params_file.is_file():
            raise ParameterError(f"{self.params_file}: no such file of parameters")
        if self.camera and self.start_node:
            raise ParameterError("camera is for a node that runs already and has several")
        if self.camera_height is not None and not self.start_node:
            raise ParameterError(
                "camera_height is for a node that is started here; set the running one's parameter"
            )


def replay(options: ReplayOptions) -> Evaluation:
    """Play a bag through the node and say what came of it.

    Raises:
        BagError: the bag is unusable, or no message of a topic of truth has an image.
        ModelError: the model is.
        ParameterError: the model cannot run at that size, or params_file has nothing for the node.
        NodeError: the node did not start or did not answer in time.
    """
    model = find_model(options.model)
    manifest = resized(load_manifest(model), options.size)
    with Bag(options.bag, options.topics, options.tolerance_ns, options.depth_scale) as bag:
        bag.require_matched_truth()
        content = _look_into(bag, options.rate)
        deadline_ms = options.deadline_ms or 1e3 * content.period_s
        numbers = content.with_truth or content.numbers
        keep = worth_keeping(numbers, content.pixels)
        log = LiveLog(keep)
        with (
            ros_context(),
            _node(options, model, bag, deadline_ms) as (process, namespace),
            closing(Player(namespace, bag.types["image"], log, process, options.camera)) as player,
        ):
            rounds = (shots(bag, options.rate) for _ in range(options.loops))
            playback = player.run(content.first, rounds, options.progress)
    about = {
        "model": f"{manifest.name} ({manifest.width}x{manifest.height})",
        "device": playback.engine,
        "bag": str(options.bag),
        "topics": bag.topics.text(),
        **_timing(options, playback),
        "chosen to be scored": f"{len(keep)} of {len(numbers)} images, as far as memory allows",
        "model sha256": manifest.sha256,
        **about_software(),
    }
    with Bag(options.bag, options.topics, options.tolerance_ns, options.depth_scale) as again:
        return evaluate(
            log=log,
            bag=again,
            manifest=manifest,
            counters=playback.counters,
            about=about,
            stages=playback.stages,
            deadline_ms=deadline_ms,
            protocol=options.protocol,
        )


def _timing(options: ReplayOptions, playback: Playback) -> dict[str, str]:
    """How the replay itself went, for people."""
    text = f"rate {options.rate:g}, {options.loops} x, at most {playback.behind_ms:.1f} ms late"
    if playback.first_output_s is None:
        return {"playback": text}
    return {"playback": text, "start to first output": f"{playback.first_output_s:.1f} s"}


def shots(bag: Bag, rate: float) -> Iterator[TimedImage]:
    """The readable images of a bag with their camera_info, in the bag's own time."""
    first_ns: int | None = None
    for number, messages in enumerate(bag.groups()):
        image, info = messages["image"], messages.get("camera_info")
        if info is None or not _readable(bag, image):
            continue
        first_ns = image.time_ns if first_ns is None else first_ns
        at_s = (image.time_ns - first_ns) / 1e9 / rate
        has_truth = bool(messages.keys() & TRUTH_READERS.keys())
        yield TimedImage(at_s, number, image.data, info.data, has_truth)


@contextmanager
def ros_context() -> Iterator[None]:
    """The ROS graph, entered as a process that sends images and takes large outputs."""
    keep_freed_memory()
    prepare_for_images()
    # Signals stay Python's, so that they unwind the stack and end the node's process.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield
    finally:
        try_shutdown()


@contextmanager
def _node(
    options: ReplayOptions, model: Path, bag: Bag, deadline_ms: float
) -> Iterator[tuple[NodeProcess | None, str]]:
    """The node and its namespace: our own process, or None for one that runs already."""
    if not options.start_node:
        yield None, options.namespace or "/"
        return
    namespace = options.namespace or f"/pag_replay_{os.getpid()}"
    compressed = bag.types["image"].endswith("CompressedImage")
    parameters = {
        "model": model.resolve(),
        "device": options.device,
        "deadline_ms": float(deadline_ms),
        "image_transport": "compressed" if compressed else "raw",
        **({"network_size": size_text(options.size)} if options.size else {}),
        **_mount_parameters(options),
    }
    log = options.out / "node.log"
    if options.params_file is not None:
        require_section(options.params_file, f"{namespace}/{NODE_NAME}")
    with NodeProcess(namespace, parameters, options.params_file, log) as process:
        yield process, namespace


def _mount_parameters(options: ReplayOptions) -> dict[str, float]:
    """The node's parameters about the camera's place, of those that the user gives."""
    given = {"camera_height": options.camera_height, "camera_pitch": options.camera_pitch}
    return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class _Content:
    """What a bag has to play.

    Attributes:
        first: the first image that can be decoded, of `pixels` pixels.
        period_s: usual time between two images, at the replay's rate.
        numbers: of all images; `with_truth`: of those that have any ground truth.
    """

    first: TimedImage
    pixels: int
    period_s: float
    numbers: list[int]
    with_truth: list[int]


def _look_into(bag: Bag, rate: float) -> _Content:
    first: TimedImage | None = None
    pixels: int | None = None
    times: list[float] = []
    numbers: list[int] = []
    with_truth: list[int] = []
    for shot in shots(bag, rate):
        if pixels is None:
            first, pixels = shot, _count_pixels(bag, shot)
        times.append(shot.at_s)
        numbers.append(shot.number)
        if shot.has_truth:
            with_truth.append(shot.number)
    if first is None or pixels is None:
        reasons = "; ".join(bag.problems) or "no image has a camera_info"
        raise BagError(f"{bag.path}: no image can be played ({reasons})")
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    period_s = gaps[len(gaps) // 2] if gaps else DEFAULT_PERIOD_S
    return _Content(first, pixels, period_s, numbers, with_truth)


def _count_pixels(bag: Bag, shot: TimedImage) -> int | None:
    """Pixels of an image; None (and a problem counted) if the node could not decode it either."""
    try:
        message = bag.deserialise(shot.image, bag.types["image"])
        return read_pixels(to_rgb, message).size // 3
    except ImageError as error:
        bag.problems[printable(str(error))] += 1
        return None


def _readable(bag: Bag, image: Recorded) -> bool:
    try:
        bag.decode(image)
    except ImageError:
        return False
    return True
