"""One camera image in, all wanted outputs of the same view out: everything but ROS."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pag_ros.budget import Allowance, Controller, ControllerSettings, Escalation, Plan, Ran, Rung
from pag_ros.errors import ImageError, ParameterError
from pag_ros.image.enlarging import Enlarger
from pag_ros.image.letterbox import Letterbox
from pag_ros.kernels import Workspace, available_cpus
from pag_ros.runtime.calibration import keep_learned
from pag_ros.runtime.camera_scale import Rescale
from pag_ros.runtime.outputs import BY_NAME, NAMES
from pag_ros.runtime.session import Deadline, Prediction, Session

_Value = TypeVar("_Value", bound=np.generic)

_MOST_THREADS = 4
"""That enlarge: more of them would wait for the memory."""


@dataclass(frozen=True)
class FrameResult:
    """What one frame gave, at the size [h,w] asked for; an output that was not wanted is None.

    Attributes:
        size: (h, w) of the outputs.
        depth: [h,w] float32, metres along the optical axis; NaN unknown.
        normals: [h,w,3] float32, unit, in the camera's optical frame, facing the camera.
        labels: [h,w] uint8, class ids.
        confidence: [h,w] float32, probability of the label, 0 to 1.
        boundary: [h,w] float32, probability; None also if the model has no such head.
        computed: [h,w] uint8, how many gated blocks ran at each pixel.
        prediction: everything at the network's size.
        budget: planned share of the gated computation, 0 to 1.
        keep_planned, keep_used: pixels of each gated block, before and after trimming.
        stage_seconds: measured duration of each of the session's stages.
        planned_stage_seconds: the same as planned.
        ran: when the network ended, and how long resizing took before and after it.
        density: share of the gated multiply-adds that were really computed, 0 to 1.
        scaling_s: how long setting the depth's scale took, a part of `ran.resizing_s`.
    """

    size: tuple[int, int]
    depth: NDArray[np.float32] | None
    normals: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    confidence: NDArray[np.float32] | None
    boundary: NDArray[np.float32] | None
    computed: NDArray[np.uint8] | None
    prediction: Prediction
    budget: float
    keep_planned: tuple[int, ...]
    keep_used: tuple[int, ...]
    stage_seconds: tuple[float, ...]
    planned_stage_seconds: tuple[float, ...]
    ran: Ran
    density: float
    scaling_s: float = 0.0


@dataclass
class PlannedSession:
    """A loaded model, and the controller that chooses every frame's budget on it."""

    session: Session
    controller: Controller


class Perception:
    """A model at its resolution, perhaps also at half of it. Not thread-safe: one thread owns it.

    Attributes:
        escalation: what to do, and is done, when even the smallest budget is late.

    Args:
        whole: at the model's own resolution.
        half: at half of it, for a machine that is too slow; None does without.
        threads: CPU threads to use beside the network, four at most; 0: all that there are.

    Raises:
        ParameterError: the session cannot do what the controller's mode needs.
    """

    def __init__(
        self, whole: PlannedSession, half: PlannedSession | None = None, threads: int = 1
    ) -> None:
        self.escalation = Escalation(half_resolution=half is not None)
        self._whole, self._half = whole, half or whole
        self._letterbox: Letterbox | None = None
        self.require(self.settings)
        self._workspace = Workspace(min(threads or available_cpus(), _MOST_THREADS))

    @property
    def sessions(self) -> tuple[PlannedSession, ...]:
        """All that is loaded: the whole resolution, then the half one if there is one."""
        return (self._whole,) if self._half is self._whole else (self._whole, self._half)

    @property
    def session(self) -> Session:
        """What the next frame runs on."""
        return self._now.session

    @property
    def controller(self) -> Controller:
        """What plans the next frame."""
        return self._now.controller

    @property
    def settings(self) -> ControllerSettings:
        """The controllers' settings; may be replaced at any time.

        Raises:
            ParameterError: the session cannot do what their mode needs; the old ones stay.
        """
        return self._whole.controller.settings

    @settings.setter
    def settings(self, settings: ControllerSettings) -> None:
        self.require(settings)
        for planned in self.sessions:
            planned.controller.settings = settings

    def process(
        self,
        image: NDArray[np.uint8],
        focal_px: float,
        allowance: Allowance | None = None,
        wanted: frozenset[str] = NAMES,
        rescale: Rescale | None = None,
        output_scale: float = 1.0,
    ) -> FrameResult | None:
        """Run the network on one camera image.

        Args:
            image: [h,w,3] uint8 RGB of any size.
            focal_px: the camera's fx in pixels at this size.
            allowance: what the frame may take, on `time.perf_counter`; None for no deadline.
            wanted: names of outputs, see `outputs`; no others are enlarged.
            rescale: sets the depth's scale where depth is wanted; None leaves the network's.
            output_scale: size of the outputs over the image's; 0: as the network gives them, which
                takes no time.

        Returns:
            The outputs, or None if the controller skips this frame.

        Raises:
            ImageError: image is not [h,w,3] uint8.
            ValueError: focal_px is not positive and finite, wanted has unknown names, or
                output_scale is negative.
        """
        began = time.perf_counter()
        if unknown := wanted - NAMES:
            raise ValueError(f"wanted has unknown outputs {sorted(unknown)}")
        box = self._fit(image)
        plan = self._plan(allowance)
        if plan is None:
            return None
        deadline = None
        if allowance is not None and plan.timed:
            deadline = Deadline(allowance.trim_at_s, plan.stage_seconds)
        small = box.shrink(image)
        ready = time.perf_counter()
        prediction = self.session.infer(
            small, focal_px * box.scale, plan.keep, deadline, plan.thresholds
        )
        inferred = time.perf_counter()
        self.controller.observe(plan, prediction.keep_used, prediction.stage_seconds)
        began_scaling = time.perf_counter()
        if rescale is not None and "depth" in wanted:
            prediction = rescale(prediction, box)
        scaling_s = time.perf_counter() - began_scaling
        output_box = box.with_output(output_scale)
        enlarge = _Enlarging(Enlarger(output_box, self._workspace), wanted)
        depth = enlarge("depth", prediction.depth)
        normals = enlarge("normals", prediction.normals)
        labels = enlarge("labels", prediction.labels)
        confidence = enlarge("confidence", prediction.confidence)
        boundary = enlarge("boundary", prediction.boundary)
        computed = enlarge("computed", prediction.computed)
        resizing_s = time.perf_counter() - inferred + ready - began
        return FrameResult(
            size=output_box.output,
            depth=depth,
            normals=normals,
            labels=labels,
            confidence=confidence,
            boundary=boundary,
            computed=computed,
            prediction=prediction,
            budget=plan.budget,
            keep_planned=plan.keep,
            keep_used=prediction.keep_used,
            stage_seconds=prediction.stage_seconds,
            planned_stage_seconds=plan.stage_seconds,
            ran=Ran(inferred, resizing_s, aimed=deadline is not None),
            density=self._density(prediction.keep_used),
            scaling_s=scaling_s,
        )

    def require(self, settings: ControllerSettings) -> None:
        """Raise ParameterError unless the session can do what the settings' mode needs."""
        session = self._whole.session
        if settings.mode == "adaptive" and not session.trims:
            raise ParameterError(
                f"budget mode adaptive needs thresholds, which {session.manifest.name} lacks on "
                f"{session.backend.partition(' ')[0]}; use deadline or fixed, or device cpu"
            )

    @property
    def floor_seconds(self) -> float:
        """What the network is expected to take at the smallest budget."""
        return self.controller.floor_seconds

    def ended(self, late: bool, budget: float | None, allowance: Allowance) -> Rung | None:
        """Tell how a frame that was planned for a deadline ended, so that the ladder can follow.

        Args:
            late: it came out after its deadline by the network's fault, or was skipped.
            budget: that it was planned with; None if it was skipped.
            allowance: that it had.

        Returns:
            The rung that the next frame runs on if it is a new one.
        """
        at_floor = budget is None or budget <= self.settings.floor
        fits_above = self._fits_above(allowance.network_s)
        rung = self.escalation.finished(late, at_floor, fits_above, allowance.started_s)
        if rung is not None:
            self._share_slowdown()
        return rung

    def rescale(self, ratio: float) -> None:
        """The machine's clock has changed: durations are `ratio` times what they were."""
        for planned in self.sessions:
            planned.controller.rescale(ratio)

    def close(self) -> None:
        """Close the sessions and the logs of their controllers, keep what these have learned."""
        for planned in self.sessions:
            keep_learned(planned.session, planned.controller)
            planned.session.close()
            planned.controller.close()
        self._workspace.close()

    @property
    def _now(self) -> PlannedSession:
        return self._session_on(self.escalation.rung)

    def _session_on(self, rung: Rung) -> PlannedSession:
        return self._whole if rung < Rung.HALF_RESOLUTION else self._half

    def _plan(self, allowance: Allowance | None) -> Plan | None:
        if allowance is None:
            return self.controller.plan(None)
        return self.controller.plan(allowance.network_s, allowance.may_drop)

    def _fits_above(self, network_s: float) -> bool:
        """Whether the smallest budget would be in time on the rung above, as far as we know."""
        above = self._session_on(self.escalation.above).controller
        return above.floor_fits(network_s, self.controller.slowdown)

    def _share_slowdown(self) -> None:
        """The machine is as slow for one network as for the other."""
        slowdown = max(planned.controller.slowdown for planned in self.sessions)
        for planned in self.sessions:
            planned.controller.slowdown = slowdown

    def _fit(self, image: NDArray[np.uint8]) -> Letterbox:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ImageError(f"image must be [h,w,3] uint8, got {image.shape} {image.dtype}")
        camera = (image.shape[0], image.shape[1])
        manifest = self.session.manifest
        network = (manifest.height, manifest.width)
        box = self._letterbox
        if box is None or (box.camera, box.network) != (camera, network):
            box = self._letterbox = Letterbox.fit(camera, network)
        return box

    def _density(self, keep_used: tuple[int, ...]) -> float:
        blocks = self.session.manifest.blocks
        used = sum(k * b.macs_per_pixel for k, b in zip(keep_used, blocks, strict=True))
        return used / max(1, sum(b.pixels * b.macs_per_pixel for b in blocks))


@dataclass(frozen=True)
class _Enlarging:
    """Brings the wanted maps of a prediction to the size of the outputs."""

    enlarger: Enlarger
    wanted: frozenset[str]

    def __call__(self, name: str, small: NDArray[_Value] | None) -> NDArray[_Value] | None:
        """The map of that name enlarged; None if it is not wanted, or not there."""
        if small is None or name not in self.wanted:
            return None
        return BY_NAME[name].enlarge(self.enlarger, small)
