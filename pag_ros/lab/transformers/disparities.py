"""What a relative network says of pictures with true depth: pixels to fit its metres to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import TRAINING, Dataset, Sample, open_dataset
from pag_ros.lab.datasets.fitting import fit
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.pictures import FEWEST
from pag_ros.lab.transformers.scale_fit import Disparities, ScaleFit, fit_factor, fit_scale

MAX_PICTURES = 200
"""Of a larger dataset so many are taken, evenly spread."""

_PIXELS = 2000
"""Of a picture, drawn from those whose depth is known."""
_MIN_KNOWN = 200
DEPTHS_M = (0.1, 200.0)
"""That count: a dataset's own cap is that of its published scores."""


def open_depths(spec: str) -> Dataset:
    """A dataset as `open_dataset` takes it, with pictures enough.

    Raises:
        DatasetError: there is no such dataset, or it holds fewer than `FEWEST` pictures.
    """
    dataset = open_dataset(spec, TRAINING)
    if len(dataset) < FEWEST:
        raise DatasetError(
            f"{spec}: {len(dataset)} pictures; metres are fitted to {FEWEST} or more"
        )
    return dataset


def count_depths(dataset: Dataset) -> int:
    """How many pictures of a dataset are looked at."""
    return min(len(dataset), MAX_PICTURES)


def spread_over(dataset: Dataset) -> list[int]:
    """The pictures that are looked at, evenly spread."""
    return [int(i) for i in np.linspace(0, len(dataset) - 1, count_depths(dataset))]


@torch.no_grad()
def disparity_of(network: GatedDepthAnything, color: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[H,W] of a picture [H,W,3] at the network's size."""
    image = torch.from_numpy(color).permute(2, 0, 1)[None].float() / 255.0
    return np.asarray(network(image)[0, 0].numpy(), np.float32)


def read_disparities(
    network: GatedDepthAnything,
    dataset: Dataset,
    size: tuple[int, int],
    progress: Callable[[], object] = lambda: None,
) -> Disparities:
    """Run the network, every token kept, on pictures with true depth.

    Args:
        network: relative, in evaluation mode.
        size: (width, height) of its input in pixels; what it says depends on it.
        progress: called after each picture; see `count_depths`.

    Raises:
        DatasetError: a picture is damaged, or too few have true depth.
    """
    protocol = replace(dataset.protocol, min_m=DEPTHS_M[0], cap_m=DEPTHS_M[1])
    generator = np.random.default_rng(0)
    disparities, depths, focal_widths = [], [], []
    for index in spread_over(dataset):
        sample = fit(_counted(dataset[index], protocol), size)
        progress()
        if sample.depth is None or np.isfinite(sample.depth).sum() < _MIN_KNOWN:
            continue
        chosen = generator.choice(np.flatnonzero(np.isfinite(sample.depth)), _PIXELS)
        disparities.append(disparity_of(network, sample.color).ravel()[chosen])
        depths.append(sample.depth.ravel()[chosen])
        focal_widths.append(sample.focal_px / size[0])
    if len(depths) < FEWEST:
        raise DatasetError(
            f"{dataset.name}: true depth in {len(depths)} of its pictures; metres are fitted to "
            f"{FEWEST} or more"
        )
    spread = min(focal_widths), max(focal_widths)
    return Disparities(dataset.name, np.stack(disparities), np.stack(depths), spread)


def fit_metres(network: GatedDepthAnything, pixels: Disparities) -> ScaleFit:
    """What makes metres of what a network said of pixels.

    Raises:
        DatasetError: it says nothing of their depth.
    """
    return fit_scale(pixels) if network.is_inverse else fit_factor(pixels)


def _counted(sample: Sample, protocol: DepthProtocol) -> Sample:
    """The sample without the depths that do not count."""
    if sample.depth is None:
        return sample
    counts = protocol.counts(sample.depth)
    return replace(sample, depth=np.where(counts, sample.depth, np.float32(np.nan)))
