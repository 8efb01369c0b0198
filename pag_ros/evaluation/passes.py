"""A model's way through labelled pictures at several budgets, without a clock and without ROS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget import Controller, ControllerSettings
from pag_ros.budget.outcomes import PROCESSED
from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import DepthProtocol, TaskScores
from pag_ros.evaluation.results import FramePictures, FrameRecord, Run
from pag_ros.evaluation.samples import make_sample
from pag_ros.evaluation.scoring import Outputs, Scoreboard
from pag_ros.evaluation.truth import Truth
from pag_ros.image.camera_info import Intrinsics
from pag_ros.manifest import LabelClass
from pag_ros.runtime import Perception, PlannedSession, Session
from pag_ros.runtime.calibration import table_for
from pag_ros.runtime.camera_scale import CameraScale, Rescale
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.scale_filter import ScaleReport, ScaleSource

SCALE = "scale of the depth"
"""What a report calls it."""


@dataclass(frozen=True)
class Labelled:
    """A picture with what is known of it.

    Attributes:
        title: of its sample, for people.
        image: [h,w,3] uint8 RGB.
        focal_px: fx at this size.
        camera: that took it, where scores of several are told apart.
        time_s: since the first picture, where they follow one another.
        intrinsics: of the camera at this size; there where `mount` is.
        mount: of the camera above the floor, which its depth is scaled by; None: it is not.
        is_alone: whether the picture follows no other one, so that nothing is known of its scale.
    """

    title: str
    image: NDArray[np.uint8]
    focal_px: float
    truth: Truth
    camera: str = ""
    time_s: float = 0.0
    intrinsics: Intrinsics | None = None
    mount: Mount | None = None
    is_alone: bool = False


@dataclass(frozen=True)
class Classes:
    """The classes that labels are scored in.

    Attributes:
        listed: in the order of the ids that the truth has.
        of_model: [256] uint8, the model's id -> id among these; None where both are the same.
    """

    listed: tuple[LabelClass, ...]
    of_model: NDArray[np.uint8] | None = None

    def relabelled(self, outputs: Outputs) -> Outputs:
        """A model's outputs with labels by the ids that they are scored in."""
        if outputs.labels is None or self.of_model is None:
            return outputs
        return replace(outputs, labels=self.of_model.take(outputs.labels))


class Passes:
    """The same pictures at every budget.

    Attributes:
        samples: pictures of the frames that were to be shown, at the first and the smallest budget.
        delta1: of every frame at the first budget, NaN without true depth.
        scales: of every frame at the first budget whose camera's mount is known.
    """

    def __init__(
        self,
        session: Session,
        budgets: Sequence[float],
        classes: Classes,
        protocol: DepthProtocol | None,
        wanted: frozenset[str],
        mode: str = "fixed",
    ) -> None:
        """Prepare a pass for every budget.

        Args:
            budgets: in (0, 1].
            classes: that labels are scored in.
            protocol: which true depths count.
            wanted: outputs of the model, see `Perception.process`.
            mode: "fixed", the budget for every picture, or "adaptive", the budget on average.

        Raises:
            ParameterError: a budget is out of range, or none is given.
        """
        require_budgets(budgets)
        self.samples: list[FramePictures] = []
        self.delta1: list[float] = []
        self.scales: list[ScaleReport] = []
        self._classes = classes
        self._shown_as = replace(session.manifest, classes=classes.listed)
        self._passes = [
            _Pass(
                budget,
                perception_at(session, budget, mode),
                Scoreboard(len(classes.listed), protocol),
                wanted,
            )
            for budget in budgets
        ]

    def process(self, picture: Labelled, shown: bool) -> Outputs:
        """Run and score a picture at every budget.

        Args:
            shown: whether it becomes a sample.

        Returns:
            The outputs at the first budget.
        """
        outputs = [self._classes.relabelled(one.run(picture)) for one in self._passes]
        frames = [one.score(picture, o) for one, o in zip(self._passes, outputs, strict=True)]
        if picture.mount is not None:
            self.scales.append(self._passes[0].scale_of(picture.camera))
        self.delta1.append(frames[0].scores().get("depth", {}).get("delta1", float("nan")))
        if shown:
            self.samples.append(self._sample(picture, outputs))
        return outputs[0]

    def runs(self) -> tuple[Run, ...]:
        """What each budget gave."""
        return tuple(one.result() for one in self._passes)

    def _sample(self, picture: Labelled, outputs: Sequence[Outputs]) -> FramePictures:
        smallest = min(range(len(self._passes)), key=lambda i: self._passes[i].budget)
        rows = {self._passes[i].name: outputs[i] for i in (0, smallest)}
        return make_sample(picture.title, picture.image, rows, picture.truth, self._shown_as)


class _Pass:
    """One budget's way through the pictures."""

    def __init__(
        self, budget: float, perception: Perception, scores: Scoreboard, wanted: frozenset[str]
    ) -> None:
        self.budget = budget
        self.name = f"budget {budget:.2f}"
        self._perception = perception
        self._scores = scores
        self._wanted = wanted
        self._scales: dict[str, CameraScale] = {}
        self._records: list[FrameRecord] = []

    def run(self, picture: Labelled) -> Outputs:
        rescale = self._rescale(picture)
        began = time.perf_counter()
        result = self._perception.process(
            picture.image, picture.focal_px, None, self._wanted, rescale
        )
        took_ms = 1e3 * (time.perf_counter() - began)
        assert result is not None, "without a deadline no frame is skipped"
        self._records.append(FrameRecord(picture.time_s, took_ms, result.density))
        return Outputs.of(result)

    def scale_of(self, camera: str) -> ScaleReport:
        """The scale of a camera's newest picture; its mount is known."""
        return self._scales[camera].report

    def _rescale(self, picture: Labelled) -> Rescale | None:
        if picture.mount is None:
            return None
        assert picture.intrinsics is not None, "the floor is seen along rays"
        if picture.is_alone or picture.camera not in self._scales:
            self._scales[picture.camera] = CameraScale(self._perception.session.manifest)
        scale = self._scales[picture.camera]
        return scale.of_frame(picture.intrinsics, picture.mount, picture.time_s)

    def score(self, picture: Labelled, outputs: Outputs) -> TaskScores:
        return self._scores.add(picture.truth, outputs, picture.camera)

    def result(self) -> Run:
        return Run(
            name=self.name,
            budget=self.budget,
            records=tuple(self._records),
            outcomes={PROCESSED: len(self._records)},
            scores=self._scores.scores(),
        )


def describe_scales(scales: Sequence[ScaleReport]) -> dict[str, str]:
    """What the floor made of the depth's scale, for people; empty where nothing was asked of it."""
    if not scales:
        return {}
    seen = [scale.factor for scale in scales if scale.source is ScaleSource.FLOOR]
    text = f"by the floor, seen in {len(seen)} of {len(scales)} frames"
    if seen:
        low, middle, high = np.percentile(seen, (10, 50, 90))
        text += f": x{middle:.2f} in the median, x{low:.2f} to x{high:.2f} in four of five"
    return {SCALE: text}


def require_budgets(budgets: Sequence[float]) -> None:
    """See that there are budgets, each in (0, 1].

    Raises:
        ParameterError: one is not, or there is none.
    """
    if not budgets or not all(0.0 < budget <= 1.0 for budget in budgets):
        raise ParameterError(f"budgets must lie in (0, 1], got {list(budgets)}")


def perception_at(session: Session, budget: float, mode: str = "fixed") -> Perception:
    """The model at a budget, in budget mode "fixed" or "adaptive"."""
    settings = ControllerSettings(mode, budget)
    controller = Controller(session.manifest, table_for(session), settings)
    return Perception(PlannedSession(session, controller))


def about_model(session: Session) -> dict[str, str]:
    """The model and the device it runs on, for people."""
    manifest = session.manifest
    return {
        "model": f"{manifest.name} ({manifest.width}x{manifest.height})",
        "device": session.backend,
        "model sha256": manifest.sha256,
    }
