"""What every inference backend offers: a `Session` turns one image into one `Prediction`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import Manifest

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Prediction:
    """All outputs of one frame at the network's input size [H,W].

    Attributes:
        depth: [H,W] float32, metres along the optical axis.
        normals: [H,W,3] float32, unit, in the camera's optical frame, facing the camera.
        labels: [H,W] uint8, class ids.
        confidence: [H,W] float32, probability of the label, 0 to 1.
        boundary: [H,W] float32, probability, or None if the model has no such head.
        computed: [H,W] uint8, how many gated blocks ran at each pixel.
        keep_used: pixels that each gated block really computed.
        stage_seconds: duration of each of `Session.stages`.
    """

    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    boundary: NDArray[np.float32] | None
    computed: NDArray[np.uint8]
    keep_used: tuple[int, ...]
    stage_seconds: tuple[float, ...]


@dataclass(frozen=True)
class Deadline:
    """When a running frame must be done, so that its remaining stages can trim themselves.

    Attributes:
        at: `time.perf_counter()` value by which the network must have finished.
        planned_seconds: planned duration of each of `Session.stages`.
    """

    at: float
    planned_seconds: tuple[float, ...]


class Session(Protocol):
    """A loaded model on one backend. Not thread-safe: one thread owns it."""

    manifest: Manifest
    device: Device
    """What computes."""
    backend: str
    """Backend and precision for people, e.g. "openvino 2026.4.1 cpu fp32 avx512"."""
    stages: tuple[str, ...]
    """Timed parts in execution order: "encoder", every gated block's name, "heads"."""
    trims: bool
    """Whether blocks obey `deadline` and `thresholds` while a frame runs. Where they do not, a
    deadline is kept by the counts alone, and thresholds are refused."""

    def infer(
        self,
        image: NDArray[np.uint8],
        focal_px: float,
        keep: Sequence[int],
        deadline: Deadline | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> Prediction:
        """Run the network on one image.

        Args:
            image: [H,W,3] uint8 RGB at the manifest's height and width.
            focal_px: fx in pixels at that size; depth is metric only with the true value.
            keep: pixels to compute in each gated block, 0 to the block's `pixels`.
            deadline: if given, blocks that start late compute fewer pixels, never more.
            thresholds: if given, one for each gated block: of the pixels that `keep` allows,
                those whose score is not above it are left out.

        Raises:
            ImageError: image has another shape or dtype.
            ValueError: keep, thresholds or focal_px out of range.
            RuntimeError: the session is closed.
            BackendError: the backend does not work in this process, which was forked, or knows no
                thresholds.
        """
        ...

    def close(self) -> None:
        """Free everything; the session cannot be used afterwards."""
        ...
