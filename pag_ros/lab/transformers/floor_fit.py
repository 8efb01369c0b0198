"""What makes metres of what a relative network says, found from the floor: no depth is needed.

Relative depth needs a factor alone, which puts the floor at the camera's height below it.
Disparity needs a scale and a shift.
A plane stays a plane whatever scale and shift are, but only the right ratio of the two gives the
floor the slope that it has before a camera of known pitch. So the ratio is that at which most is
seen of a floor, in all pictures together, and the scale puts it at the camera's height below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pag_ros.errors import DatasetError, ParameterError
from pag_ros.image.letterbox import Letterbox
from pag_ros.lab.datasets import TRAINING, Dataset, open_dataset
from pag_ros.lab.datasets.picture_folder import PictureFolder
from pag_ros.lab.transformers.deployed import normals_of
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.disparities import DEPTHS_M, disparity_of, spread_over
from pag_ros.lab.transformers.metres import Factor, ScaleAndShift
from pag_ros.lab.transformers.pictures import FEWEST
from pag_ros.lab.transformers.scale_fit import FARTHEST_SHARE, ScaleFit
from pag_ros.runtime.camera_scale import SAMPLED_PIXELS
from pag_ros.runtime.floor_scale import FloorSighting, Mount, Sampled, sight_floor

_RATIOS = np.array([0.0, *np.geomspace(0.03, 10.0, 24)])
"""Shift over scale, in medians of the disparity."""

_LEAST = 1e-3
"""In medians of the disparity: what lies below counts as this."""

_TO_DEVIATION = 1.4826
"""The standard deviation of normal errors over their median."""


@dataclass(frozen=True)
class FloorView:
    """What a relative network says of a picture, without the bars around it.

    Attributes:
        disparity: [h,w] float32, 0 or more, every so many rows and columns; of a network that
            gives relative depth that.
        focal_px: fx in pixels of this map.
        focal_width: fx over the width of the network's input.
    """

    disparity: NDArray[np.float32]
    focal_px: float
    focal_width: float


def open_floors(spec: str, mount: Mount) -> Dataset:
    """A dataset as `open_dataset` takes it, with pictures that a floor can be found in.

    Raises:
        ParameterError: the camera's pitch is not known.
        DatasetError: there is no such dataset, it holds fewer than `FEWEST` pictures, or nobody
            knows their focal length.
    """
    if mount.up is None:
        raise ParameterError("--floor needs --camera-pitch: a floor is told by its slope")
    dataset = open_dataset(spec, TRAINING)
    if isinstance(dataset, PictureFolder):
        raise DatasetError(
            f"{spec}: plain pictures have no focal length; --floor takes those whose index has it "
            "(rooms in docs/datasets.md)"
        )
    if len(dataset) < FEWEST:
        raise DatasetError(f"{spec}: {len(dataset)} pictures; --floor needs {FEWEST} or more")
    return dataset


def read_views(
    network: GatedDepthAnything,
    dataset: Dataset,
    size: tuple[int, int],
    progress: Callable[[], object] = lambda: None,
) -> list[FloorView]:
    """Run the network, every token kept, on pictures.

    Args:
        network: relative, in evaluation mode.
        size: (width, height) of its input in pixels.
        progress: called after each picture; see `count_depths`.

    Raises:
        DatasetError: a picture is damaged.
    """
    views = []
    for index in spread_over(dataset):
        sample = dataset[index]
        box = Letterbox.fit((sample.color.shape[0], sample.color.shape[1]), (size[1], size[0]))
        inside = disparity_of(network, box.shrink(sample.color))[box.inside]
        step = max(1, round(math.sqrt(inside.size / SAMPLED_PIXELS)))
        focal_px = sample.focal_px * box.scale
        views.append(FloorView(inside[::step, ::step], focal_px / step, focal_px / size[0]))
        progress()
    return views


def fit_floor(views: Sequence[FloorView], mount: Mount, source: str) -> ScaleFit:
    """Find the scale and shift with which most is seen of a floor.

    Args:
        mount: of the camera, which was the same in all pictures.
        source: of the pictures, for people.

    Raises:
        DatasetError: a floor is seen in fewer than `FEWEST` pictures.
    """
    typical = max(float(np.median([np.median(view.disparity) for view in views])), 1e-6)
    ratio = max(_RATIOS, key=lambda ratio: _seen(_sightings(views, mount, typical, ratio)))
    sightings = _sightings(views, mount, typical, ratio)
    factors = _log_factors(sightings, views, source)
    scale = math.exp(-float(np.median(factors)))
    shift = scale * typical * float(ratio)
    disparities = np.concatenate([view.disparity.ravel() for view in views])
    far = max(float(np.quantile(disparities, 1.0 - FARTHEST_SHARE)), _LEAST * typical)
    best = ScaleAndShift(scale, shift, min(1.0 / (scale * far + shift), DEPTHS_M[1]))
    return _fit(best, factors, views, source)


def fit_floor_factor(views: Sequence[FloorView], mount: Mount, source: str) -> ScaleFit:
    """Find the factor of relative depth that puts the floor where it is; see `fit_floor`."""
    sightings = _found(((view, view.disparity) for view in views), mount)
    factors = _log_factors(sightings, views, source)
    factor = math.exp(float(np.median(factors)))
    depths = np.concatenate([view.disparity.ravel() for view in views])
    farthest_m = factor * float(np.quantile(depths, FARTHEST_SHARE))
    return _fit(Factor(factor, min(farthest_m, DEPTHS_M[1])), factors, views, source)


def _log_factors(
    sightings: Sequence[FloorSighting], views: Sequence[FloorView], source: str
) -> NDArray[np.float64]:
    """[N] logarithms of what puts each floor where it is.

    Raises:
        DatasetError: there are too few.
    """
    if len(sightings) < FEWEST:
        raise DatasetError(
            f"{source}: a floor is seen in {len(sightings)} of {len(views)} pictures, {FEWEST} are "
            "needed: check height and pitch, show more floor, and take a relative checkpoint"
        )
    return np.log([sighting.factor for sighting in sightings])


def _fit(
    best: ScaleAndShift | Factor,
    factors: NDArray[np.float64],
    views: Sequence[FloorView],
    source: str,
) -> ScaleFit:
    """That of the floors with the logarithms [N] of their factors."""
    focal_widths = [view.focal_width for view in views]
    return ScaleFit(
        best,
        f"fitted to the floor in {len(factors)} of {len(views)} pictures of {source}",
        (min(focal_widths), max(focal_widths)),
        _TO_DEVIATION * float(np.median(np.abs(factors - np.median(factors)))),
    )


def _seen(sightings: Sequence[FloorSighting]) -> float:
    return sum(sighting.confidence for sighting in sightings)


def _sightings(
    views: Sequence[FloorView], mount: Mount, typical: float, ratio: float
) -> list[FloorSighting]:
    """The floors that are seen with a scale of 1."""
    least = _LEAST * typical
    depths = ((v, 1.0 / np.maximum(v.disparity + ratio * typical, least)) for v in views)
    return _found(depths, mount)


def _found(
    depths: Iterable[tuple[FloorView, NDArray[np.floating]]], mount: Mount
) -> list[FloorSighting]:
    """The floors that are seen where views have such depths [h,w]."""
    found = (sight_floor(_sampled(v, depth.astype(np.float32)), mount) for v, depth in depths)
    return [sighting for sighting in found if sighting is not None]


def _sampled(view: FloorView, depth: NDArray[np.float32]) -> Sampled:
    normals = normals_of(torch.from_numpy(depth)[None], torch.tensor([view.focal_px]))[0]
    height, width = depth.shape
    x = (np.arange(width) - (width - 1) / 2.0) / view.focal_px
    y = (np.arange(height) - (height - 1) / 2.0) / view.focal_px
    rays = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)
    return Sampled(
        rays=rays.reshape(-1, 3).astype(np.float32),
        depth=depth.ravel(),
        normals=normals.numpy().reshape(-1, 3),
        is_ground=np.ones(depth.size, bool),
    )
