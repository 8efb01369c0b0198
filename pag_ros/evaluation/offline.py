"""Score a bag frame by frame at several budgets: every frame, no clock, no ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.bags import TRUTH_READERS, Bag
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.evaluation.passes import (
    Classes,
    Labelled,
    Passes,
    about_model,
    describe_scales,
    require_budgets,
)
from pag_ros.evaluation.results import Evaluation, about_software
from pag_ros.evaluation.samples import spread
from pag_ros.evaluation.scoring import tally_truth
from pag_ros.runtime import Session
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.outputs import COMPUTED

DEFAULT_BUDGETS = (1.0, 0.75, 0.5, 0.25, 0.1)
WANTED = frozenset({COMPUTED, *TRUTH_READERS})


def evaluate_bag(
    bag: Bag,
    session: Session,
    budgets: Sequence[float] = DEFAULT_BUDGETS,
    protocol: DepthProtocol | None = None,
    limit: int | None = None,
    mount: Mount | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Run every frame of a bag at every budget. Scores depend on the bag and the model alone.

    Args:
        budgets: in (0, 1]; the first one is shown in detail.
        protocol: which true depths count.
        limit: stop after so many frames.
        mount: of the camera above the floor, where the bag was not opened with a frame on the
            ground; the depth is scaled by it. None leaves the network's scale.
        progress: called after each frame.

    Raises:
        BagError: not one frame could be read, or no message of a topic of truth has an image.
        ParameterError: a budget or the limit is out of range.
    """
    require_budgets(budgets)
    if limit is not None and limit < 1:
        raise ParameterError(f"limit must be 1 or more, got {limit}")
    bag.require_matched_truth()
    classes = session.manifest.classes
    passes = Passes(session, budgets, Classes(classes), protocol, WANTED)
    shown = spread(bag.matching.images if limit is None else min(bag.matching.images, limit))
    first_ns: int | None = None
    for i, frame in enumerate(islice(bag.frames(), limit)):
        first_ns = frame.time_ns if first_ns is None else first_ns
        time_s = (frame.time_ns - first_ns) / 1e9
        title = f"frame {i}, {time_s:.1f} s"
        picture = Labelled(
            title=title,
            image=frame.image,
            focal_px=frame.focal_px,
            truth=frame.truth,
            camera=frame.frame_id,
            time_s=time_s,
            intrinsics=frame.intrinsics,
            mount=frame.mount or mount,
        )
        outputs = passes.process(picture, i in shown)
        tally_truth(bag.truth, frame.truth, outputs, len(classes), protocol)
        progress()
    if first_ns is None:
        reasons = "; ".join(bag.problems) or "it has no messages"
        raise BagError(f"{bag.path}: no frame could be read ({reasons})")
    runs = passes.runs()
    return Evaluation(
        title=f"{session.manifest.name} on {bag.path.name}",
        live=False,
        about=_about(bag, session, passes),
        deadline_ms=None,
        runs=runs,
        classes=classes,
        depth_range_m=session.manifest.depth_range_m,
        counters=_count_images(bag, len(runs[0].records)),
        problems=dict(bag.problems),
        truth=tuple(bag.truth.values()),
        samples=tuple(passes.samples),
    )


def _count_images(bag: Bag, evaluated: int) -> dict[str, int]:
    """What became of the bag's images, in numbers that add up."""
    left_out = bag.images_left_out
    return {
        "images in the bag": bag.matching.images,
        "images evaluated": evaluated,
        "images left out": left_out,
        "images not reached": bag.matching.images - evaluated - left_out,
    }


def _about(bag: Bag, session: Session, passes: Passes) -> dict[str, str]:
    return {
        **about_model(session),
        **describe_scales(passes.scales),
        "bag": str(bag.path),
        "topics": bag.topics.text(),
        **about_software(),
    }
