"""What all backends do alike: check what a frame is given, and make a `Prediction` of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError
from pag_ros.manifest import Manifest
from pag_ros.runtime.computed_map import computed_map
from pag_ros.runtime.outputs import COMPUTED, OUTPUTS, Output
from pag_ros.runtime.session import Deadline, Prediction

MAX_FOCAL_PX = 1e5


def check_frame(
    manifest: Manifest,
    image: NDArray[np.uint8],
    focal_px: float,
    keep: Sequence[int],
    deadline: Deadline | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Raise ImageError or ValueError unless the arguments are what `Session.infer` takes."""
    size = (manifest.height, manifest.width, 3)
    if image.shape != size or image.dtype != np.uint8:
        raise ImageError(f"image must be {size} uint8, got {image.shape} {image.dtype}")
    if not 0.0 < focal_px < MAX_FOCAL_PX:
        raise ValueError(f"focal_px must be positive and finite, got {focal_px}")
    blocks = manifest.blocks
    if len(keep) != len(blocks):
        raise ValueError(f"keep has {len(keep)} entries for {len(blocks)} gated blocks")
    for block, pixels in zip(blocks, keep, strict=True):
        if not 0 <= pixels <= block.pixels:
            raise ValueError(f"keep of {block.name} must be 0..{block.pixels}, got {pixels}")
    if deadline is not None and len(deadline.planned_seconds) != len(blocks) + 2:
        raise ValueError(
            f"planned_seconds has {len(deadline.planned_seconds)} entries for "
            f"{len(blocks)} gated blocks, encoder and heads"
        )
    if thresholds is not None and len(thresholds) != len(blocks):
        raise ValueError(f"{len(thresholds)} thresholds for {len(blocks)} gated blocks")


def prediction_of(
    outputs: Mapping[str, NDArray[Any]], manifest: Manifest, stage_seconds: tuple[float, ...]
) -> Prediction:
    """A frame's result as copies of the model's outputs.

    Args:
        outputs: see `model_layout.output_layout`; heads that the model lacks are filled in.
        stage_seconds: see `Prediction`.
    """
    keep_used = tuple(outputs["count"].tolist())
    index = [outputs[f"index{slot}"] for slot in range(len(keep_used))]
    maps = {o.name: _map_of(o, outputs, manifest) for o in OUTPUTS if o.part != COMPUTED}
    return Prediction(
        depth=_required(maps["depth"]),
        normals=_required(maps["normals"]),
        labels=_required(maps["labels"]),
        confidence=_required(maps["confidence"]),
        boundary=maps["boundary"],
        computed=computed_map(index, keep_used, manifest),
        keep_used=keep_used,
        stage_seconds=stage_seconds,
    )


def _required(pixels: NDArray[Any] | None) -> NDArray[Any]:
    """Narrow the type: of these outputs something stands for a missing head."""
    assert pixels is not None
    return pixels


def _map_of(
    output: Output, outputs: Mapping[str, NDArray[Any]], manifest: Manifest
) -> NDArray[Any] | None:
    """A copy of a map [H,W] or [H,W,channels], or what stands for it where the head is missing."""
    if output.name in outputs:
        copied: NDArray[Any] = outputs[output.name][0].copy()
        return copied
    if output.absent is None:
        return None
    return np.full(output.shape(manifest.height, manifest.width), output.absent, output.dtype)
