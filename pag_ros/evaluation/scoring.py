"""Score outputs against truth, camera by camera: a bag may hold several, good and bad ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.evaluation.metrics import DepthProtocol, TaskScores
from pag_ros.evaluation.results import Scores
from pag_ros.evaluation.truth import Truth
from pag_ros.evaluation.truth_tally import TruthTally
from pag_ros.runtime import FrameResult


@dataclass(frozen=True)
class Outputs:
    """What was computed for a frame, at the image's size; None where it was not asked for.

    Attributes:
        depth: [h,w] float32 metres.
        normals: [h,w,3] float32 unit.
        labels: [h,w] uint8 class ids.
        boundary: [h,w] float32 probability.
        computed: [h,w] uint8, gated blocks run at each pixel.
    """

    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None
    boundary: NDArray[np.float32] | None = None
    computed: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, result: FrameResult) -> Outputs:
        """Return the maps of a frame that was processed here."""
        return cls(
            depth=result.depth,
            normals=result.normals,
            labels=result.labels,
            boundary=result.boundary,
            computed=result.computed,
        )


class Scoreboard:
    """The scores of one run."""

    def __init__(self, classes: int, protocol: DepthProtocol | None = None) -> None:
        self._classes = classes
        self._protocol = protocol
        self._cameras: dict[str, TaskScores] = {}

    def add(self, truth: Truth, outputs: Outputs, camera: str = "") -> TaskScores:
        """Score a frame, for whatever has both an output and a truth.

        Returns:
            The frame's scores alone.
        """
        alone = self._empty()
        if outputs.depth is not None and truth.depth is not None:
            alone.add_depth(outputs.depth, truth.depth)
        if outputs.normals is not None and truth.normals is not None:
            alone.add_normals(outputs.normals, truth.normals)
        if outputs.labels is not None and truth.labels is not None:
            alone.add_labels(outputs.labels, truth.labels)
        if outputs.boundary is not None and truth.boundary is not None:
            alone.add_boundary(outputs.boundary, truth.boundary)
        self._cameras.setdefault(camera, self._empty()).include(alone)
        return alone

    def scores(self) -> Scores:
        """Return the scores of all frames together, and of each camera if there are several."""
        every = self._empty()
        for scores in self._cameras.values():
            every.include(scores)
        by_camera = {name: scores.scores() for name, scores in self._cameras.items()}
        return Scores(
            tasks=every.scores(),
            class_iou=tuple(every.class_iou()),
            cameras=by_camera if len(by_camera) > 1 else {},
        )

    def _empty(self) -> TaskScores:
        return TaskScores(self._classes, self._protocol)


def tally_truth(
    tallies: Mapping[str, TruthTally],
    truth: Truth,
    outputs: Outputs,
    classes: int,
    protocol: DepthProtocol | None = None,
) -> None:
    """Take back what `Bag.frames` counted as scored, where a frame's truth gave no score.

    Args:
        tallies: kind -> tally, of the bag that the frame comes from.
        outputs: that the truth was compared with.
        classes, protocol: of the scoreboard.
    """
    empty = _find_empty(truth, classes, protocol or DepthProtocol())
    for kind, array in vars(truth).items():
        if array is None:
            continue
        if kind in empty:
            tallies[kind].reject(empty[kind])
        elif getattr(outputs, kind) is None:
            tallies[kind].leave_unscored("no output to be compared with")


def _find_empty(truth: Truth, classes: int, protocol: DepthProtocol) -> dict[str, str]:
    """Kinds of truth without one pixel that counts -> why none does."""
    empty = {}
    if truth.depth is not None and not protocol.counts(truth.depth).any():
        crop = "" if protocol.crop == DepthProtocol().crop else " inside the protocol's crop"
        empty["depth"] = f"no pixel is from {protocol.min_m:g} to {protocol.cap_m:g} m{crop}"
    if truth.normals is not None and not np.isfinite(truth.normals).all(axis=-1).any():
        empty["normals"] = "no pixel has a normal"
    if truth.labels is not None and not (truth.labels < classes).any():
        empty["labels"] = f"no pixel has one of the model's {classes} classes"
    return empty
