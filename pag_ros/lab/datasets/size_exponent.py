"""How the distances that a network sees follow its input size: `Manifest.size_exponent`.

At twice the input size an object has twice the pixels. A network that goes by them sees it half as
far away (exponent 1), one that goes by its share of the picture just as far (exponent 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pag_ros.errors import DatasetError
from pag_ros.evaluation.passes import perception_at
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.manifest import load_manifest
from pag_ros.runtime import Perception, Session, open_session
from pag_ros.runtime.network_size import scaled_size, size_of, size_text

SCALES = (0.5, 0.75, 1.0, 1.5)
"""Of the model's own size. Pictures that have to be enlarged by more have no detail to go by."""


@dataclass(frozen=True)
class SizeFit:
    """What was measured.

    Attributes:
        exponent: 0 to 1.
        scales: input size -> depth over true depth, with the exponent that the manifest has.
    """

    exponent: float
    scales: dict[str, float]


def fit_sizes(
    dataset: Dataset,
    model: Path,
    device: str = "auto",
    limit: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> SizeFit:
    """Run a model at several sizes, and fit a power of the size to the scale of its depth.

    Args:
        dataset: with true depth.
        model: path of the ONNX file, its manifest beside it.
        device: see `open_session`.
        limit: so many samples, from the first; None for all.
        progress: called after each sample at each size.

    Raises:
        DatasetError: no sample has a true depth.
        ModelError, BackendError: the model or the device cannot be used.
    """
    manifest = load_manifest(model)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    scales: dict[str, float] = {}
    for scale in SCALES:
        size = scaled_size(manifest, scale)
        with closing(open_session(model, device, size=size)) as session:
            scales[size_text(size)] = _depth_scale(dataset, session, count, progress)
    widths = [scaled_size(manifest, scale)[0] / size_of(manifest)[0] for scale in SCALES]
    slope = np.polyfit(np.log(widths), np.log(list(scales.values())), 1)[0]
    exponent = min(1.0, max(0.0, manifest.size_exponent - float(slope)))
    return SizeFit(round(exponent, 3), scales)


def _depth_scale(
    dataset: Dataset, session: Session, count: int, progress: Callable[[], object]
) -> float:
    """Geometric mean over the samples of the median of depth over true depth."""
    perception, logs = perception_at(session, 1.0), []
    for index in range(count):
        ratio = _median_ratio(dataset[index], perception, dataset)
        if ratio is not None:
            logs.append(math.log(ratio))
        progress()
    if not logs:
        raise DatasetError(f"{dataset.name}: no sample has a true depth")
    return math.exp(math.fsum(logs) / len(logs))


def _median_ratio(sample: Sample, perception: Perception, dataset: Dataset) -> float | None:
    if sample.depth is None:
        return None
    result = perception.process(sample.color, sample.focal_px, None, frozenset({"depth"}))
    assert result is not None, "without a deadline no frame is skipped"
    assert result.depth is not None, "it is wanted"
    counts = dataset.protocol.counts(sample.depth) & (result.depth > 0.0)
    if not counts.any():
        return None
    return float(np.median(result.depth[counts] / sample.depth[counts]))
