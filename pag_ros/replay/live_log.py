"""The books of a live replay: what was sent, what came back and when, and what the node counted.

Free of ROS: pag_ros.replay.live fills a `LiveLog`, `evaluate` turns it into an `Evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from pag_ros.budget.outcomes import DROPPED, LOST, PROCESSED, UNACCOUNTED, UNDELIVERED
from pag_ros.errors import ImageError
from pag_ros.evaluation.bags import TRUTH_READERS, Bag, Frame, read_pixels
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.evaluation.results import Evaluation, FramePictures, FrameRecord, Run
from pag_ros.evaluation.samples import make_sample, spread
from pag_ros.evaluation.scoring import Outputs, Scoreboard, tally_truth
from pag_ros.image.decode import to_labels
from pag_ros.image.messages import PictureMessage
from pag_ros.manifest import Manifest
from pag_ros.ros.budget_report import NODE_PARTS
from pag_ros.ros.topics import MAP_TOPICS
from pag_ros.runtime.outputs import BY_NAME

READERS: Mapping[str, Callable[[PictureMessage], NDArray[Any]]] = {
    **TRUTH_READERS,
    "computed": to_labels,
}
"""What is compared with a bag's truth, and where it was computed: field of `Outputs` -> reader."""

OUTPUT_TOPICS = {name: MAP_TOPICS[name] for name in READERS}
"""Outputs that a replay listens to: field of `Outputs` -> the node's topic."""

BYTES_PER_PIXEL = sum(BY_NAME[name].bytes_per_pixel for name in READERS)
MAX_KEPT_BYTES = 400_000_000
"""Size of the outputs that are held in memory to be scored after the replay, when scoring disturbs
nothing any more."""

DELIVERY = "delivery"
"""The part from the end of the node's sending to the arrival of the last output at the listener."""
PARTS = (*NODE_PARTS, DELIVERY)


@dataclass
class Sent:
    """One image sent to the node, and what came back for it.

    Attributes:
        number: the image's number in the bag, see `Frame`, to find the ground truth.
        at_ns: when it was sent; also its stamp.
        kept: whether its outputs are held to be scored.
        arrived_ns: kind of output -> when it came.
        data: kind of output -> the serialised message, if kept.
        density: share of the gated computation, as the node reported it.
        late: whether it was late when the node had published it, as the node reported.
        parts_ms: durations of `NODE_PARTS`, as the node reported them; empty if it did not.
    """

    number: int
    at_ns: int
    kept: bool
    arrived_ns: dict[str, int] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    density: float | None = None
    late: bool | None = None
    parts_ms: Mapping[str, float] = field(default_factory=dict)


def worth_keeping(numbers: Sequence[int], pixels: int) -> frozenset[int]:
    """As many of these images, evenly spread, as there is memory for their outputs."""
    indices = spread(len(numbers), max(1, MAX_KEPT_BYTES // (pixels * BYTES_PER_PIXEL)))
    return frozenset(numbers[i] for i in indices)


class LiveLog:
    """What happened to every image of a replay, by the stamp it was sent with.

    Attributes:
        expected: kinds of output that make a frame complete; to be set before the first one.
        sent: stamp -> image, in order.
    """

    def __init__(self, keep: frozenset[int]) -> None:
        """Prepare for a replay.

        Args:
            keep: numbers in the bag of the images to be scored, see `worth_keeping`.
        """
        self.expected: frozenset[str] = frozenset()
        self.sent: dict[int, Sent] = {}
        self._keep = set(keep)

    def send(self, at_ns: int, number: int) -> None:
        """An image of the bag is about to be sent with the stamp `at_ns`."""
        self.sent[at_ns] = Sent(number, at_ns, number in self._keep)
        self._keep.discard(number)  # once is enough, however often the bag is played

    def arrive(self, kind: str, stamp_ns: int, at_ns: int, data: bytes) -> None:
        """An output has come; one for an image that was never sent is ignored."""
        entry = self.sent.get(stamp_ns)
        if entry is None:
            return
        entry.arrived_ns[kind] = at_ns
        if entry.kept:
            entry.data[kind] = data

    def report(
        self, stamp_ns: int, density: float, late: bool, parts_ms: Mapping[str, float]
    ) -> None:
        """The node has told of a frame: its density, whether it was late, and `NODE_PARTS`."""
        entry = self.sent.get(stamp_ns)
        if entry is not None:
            entry.density, entry.late, entry.parts_ms = density, late, parts_ms

    def answered(self) -> int:
        """Images whose outputs have all come."""
        return sum(self.expected <= entry.arrived_ns.keys() for entry in self.sent.values())

    def records(self) -> tuple[FrameRecord, ...]:
        """Every image in the order sent."""
        first_ns = next(iter(self.sent), 0)
        return tuple(
            FrameRecord(
                time_s=(entry.at_ns - first_ns) / 1e9,
                latency_ms=self._latency_ms(entry),
                density=entry.density,
                late=entry.late,
                parts_ms=self._parts_ms(entry),
            )
            for entry in self.sent.values()
        )

    def outcomes(self, counters: Mapping[str, int]) -> dict[str, int]:
        """How many images ended in which way.

        Args:
            counters: the node's own, over this replay: received, processed, superseded, ...
        """
        sent, answered = len(self.sent), self.answered()
        dropped = {name: counters.get(name, 0) for name in DROPPED}
        lost = max(0, sent - counters["received"]) if "received" in counters else 0
        undelivered = max(0, counters.get("processed", 0) - answered)
        rest = sent - answered - undelivered - sum(dropped.values()) - lost
        return {
            PROCESSED: answered,
            UNDELIVERED: undelivered,
            **dropped,
            LOST: lost,
            UNACCOUNTED: rest,
        }

    def _parts_ms(self, entry: Sent) -> dict[str, float]:
        parts = dict(entry.parts_ms)
        latency_ms = self._latency_ms(entry)
        if parts and latency_ms is not None:
            parts[DELIVERY] = latency_ms - sum(parts.values())
        return parts

    def _latency_ms(self, entry: Sent) -> float | None:
        if not self.expected <= entry.arrived_ns.keys():
            return None
        return (max(entry.arrived_ns[kind] for kind in self.expected) - entry.at_ns) / 1e6


def evaluate(
    log: LiveLog,
    bag: Bag,
    manifest: Manifest,
    counters: Mapping[str, int],
    about: Mapping[str, str],
    stages: Mapping[str, str],
    deadline_ms: float,
    protocol: DepthProtocol | None = None,
) -> Evaluation:
    """Score the outputs that were kept against the bag's truth, and put everything together.

    Args:
        bag: the one that was replayed, to be read once more.
        counters: the node's own, over this replay; empty if it did not tell.
        about, stages, deadline_ms: see `Evaluation`.
    """
    scores = Scoreboard(len(manifest.classes), protocol)
    samples: list[FramePictures] = []
    kept = {entry.number: entry for entry in log.sent.values() if entry.data}
    first_ns = next(iter(log.sent), 0)
    shown = spread(len(kept))
    done = 0
    for frame in bag.frames():
        entry = kept.pop(frame.number, None)
        outputs = Outputs() if entry is None else _outputs(entry, frame, bag)
        tally_truth(bag.truth, frame.truth, outputs, len(manifest.classes), protocol)
        if entry is None:
            continue
        scores.add(frame.truth, outputs, frame.frame_id)
        if done in shown:
            samples.append(_sample(frame, entry, first_ns, outputs, manifest))
        done += 1
    run = Run(
        name="live",
        budget=None,
        records=log.records(),
        outcomes=log.outcomes(counters),
        scores=scores.scores(),
    )
    return Evaluation(
        title=f"{manifest.name} live on {bag.path.name}",
        live=True,
        about=about,
        deadline_ms=deadline_ms,
        runs=(run,),
        classes=manifest.classes,
        depth_range_m=manifest.depth_range_m,
        counters=counters,
        problems=dict(bag.problems),
        truth=tuple(bag.truth.values()),
        samples=tuple(samples),
        stages=stages,
    )


def _outputs(entry: Sent, frame: Frame, bag: Bag) -> Outputs:
    arrays: dict[str, NDArray[Any]] = {}
    for kind, data in entry.data.items():
        try:
            array = read_pixels(READERS[kind], bag.deserialise(data, "sensor_msgs/msg/Image"))
        except ImageError as error:
            bag.problems[f"output {OUTPUT_TOPICS[kind]}: {error}"] += 1
            continue
        if array.shape[:2] == frame.image.shape[:2]:
            arrays[kind] = array
        else:
            bag.problems[f"output {OUTPUT_TOPICS[kind]} differs from the image's size"] += 1
    return Outputs(
        depth=arrays.get("depth"),
        normals=arrays.get("normals"),
        labels=arrays.get("labels"),
        boundary=arrays.get("boundary"),
        computed=arrays.get("computed"),
    )


def _sample(
    frame: Frame, entry: Sent, first_ns: int, outputs: Outputs, manifest: Manifest
) -> FramePictures:
    title = f"{(entry.at_ns - first_ns) / 1e9:.1f} s"
    name = "live" if entry.density is None else f"density {entry.density:.2f}"
    return make_sample(title, frame.image, {name: outputs}, frame.truth, manifest)
