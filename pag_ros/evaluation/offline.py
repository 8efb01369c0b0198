"""Score a bag frame by frame at several budgets: every frame, no clock, no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice

from pag_ros.budget import Controller, ControllerSettings
from pag_ros.budget.outcomes import PROCESSED
from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.bags import Bag, Frame
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.evaluation.results import Evaluation, FrameRecord, Run, Sample, about_software
from pag_ros.evaluation.samples import make_sample, spread
from pag_ros.evaluation.scoring import OUTPUT_NAMES, Outputs, Scoreboard, tally_truth
from pag_ros.runtime import FrameResult, Perception, PlannedSession, Session
from pag_ros.runtime.calibration import table_for
from pag_ros.runtime.outputs import parts_for

DEFAULT_BUDGETS = (1.0, 0.75, 0.5, 0.25, 0.1)
WANTED = parts_for(*OUTPUT_NAMES)


def evaluate_bag(
    bag: Bag,
    session: Session,
    budgets: Sequence[float] = DEFAULT_BUDGETS,
    protocol: DepthProtocol | None = None,
    limit: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Run every frame of a bag at every budget. Scores depend on the bag and the model alone.

    Args:
        budgets: in (0, 1]; the first one is shown in detail.
        protocol: which true depths count.
        limit: stop after so many frames.
        progress: called after each frame.

    Raises:
        BagError: not one frame could be read, or no message of a topic of truth has an image.
        ParameterError: a budget or the limit is out of range.
    """
    if not budgets or not all(0.0 < budget <= 1.0 for budget in budgets):
        raise ParameterError(f"budgets must lie in (0, 1], got {list(budgets)}")
    if limit is not None and limit < 1:
        raise ParameterError(f"limit must be 1 or more, got {limit}")
    bag.require_matched_truth()
    passes = [_Pass(session, budget, protocol) for budget in budgets]
    shown = spread(bag.plan.images if limit is None else min(bag.plan.images, limit))
    samples: list[Sample] = []
    first_ns: int | None = None
    for i, frame in enumerate(islice(bag.frames(), limit)):
        first_ns = frame.time_ns if first_ns is None else first_ns
        time_s = (frame.time_ns - first_ns) / 1e9
        results = [one.process(frame, time_s) for one in passes]
        outputs, classes = Outputs.of(results[0]), len(session.manifest.classes)
        tally_truth(bag.truth, frame.truth, outputs, classes, protocol)
        if i in shown:
            title = f"frame {i}, {time_s:.1f} s"
            samples.append(_sample(title, frame, passes, results, session))
        progress()
    if first_ns is None:
        reasons = "; ".join(bag.problems) or "it has no messages"
        raise BagError(f"{bag.path}: no frame could be read ({reasons})")
    return Evaluation(
        title=f"{session.manifest.name} on {bag.path.name}",
        live=False,
        about=_about(bag, session),
        deadline_ms=None,
        runs=tuple(one.run() for one in passes),
        classes=session.manifest.classes,
        depth_range_m=session.manifest.depth_range_m,
        counters=_count_images(bag, len(passes[0].records)),
        problems=dict(bag.problems),
        truth=tuple(bag.truth.values()),
        samples=tuple(samples),
    )


class _Pass:
    """One budget's way through the bag."""

    def __init__(self, session: Session, budget: float, protocol: DepthProtocol | None) -> None:
        settings = ControllerSettings(mode="fixed", budget=budget)
        controller = Controller(session.manifest, table_for(session), settings)
        self.budget = budget
        self.name = f"budget {budget:.2f}"
        self._perception = Perception(PlannedSession(session, controller))
        self._scores = Scoreboard(len(session.manifest.classes), protocol)
        self.records: list[FrameRecord] = []

    def process(self, frame: Frame, time_s: float) -> FrameResult:
        began = time.perf_counter()
        result = self._perception.process(frame.image, frame.focal_px, None, WANTED)
        took_ms = 1e3 * (time.perf_counter() - began)
        assert result is not None, "a fixed budget never skips"
        self.records.append(FrameRecord(time_s, took_ms, result.density))
        self._scores.add(frame, Outputs.of(result))
        return result

    def run(self) -> Run:
        return Run(
            name=self.name,
            budget=self.budget,
            records=tuple(self.records),
            outcomes={PROCESSED: len(self.records)},
            scores=self._scores.scores(),
        )


def _sample(
    title: str,
    frame: Frame,
    passes: Sequence[_Pass],
    results: Sequence[FrameResult],
    session: Session,
) -> Sample:
    """Pictures at the first and at the smallest budget."""
    smallest = min(range(len(passes)), key=lambda i: passes[i].budget)
    rows = {passes[i].name: Outputs.of(results[i]) for i in (0, smallest)}
    return make_sample(title, frame.image, rows, frame.truth, session.manifest)


def _count_images(bag: Bag, evaluated: int) -> dict[str, int]:
    """What became of the bag's images, in numbers that add up."""
    left_out = bag.images_left_out
    return {
        "images in the bag": bag.plan.images,
        "images evaluated": evaluated,
        "images left out": left_out,
        "images not reached": bag.plan.images - evaluated - left_out,
    }


def _about(bag: Bag, session: Session) -> dict[str, str]:
    manifest = session.manifest
    return {
        "model": f"{manifest.name} ({manifest.width}x{manifest.height})",
        "device": session.backend,
        "bag": str(bag.path),
        "topics": bag.topics.text(),
        "model sha256": manifest.sha256,
        **about_software(),
    }
