"""Sheets of pictures of a dataset: its truth, or the best and the worst a model makes of it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.evaluation.samples import color_outputs
from pag_ros.evaluation.scoring import Outputs
from pag_ros.image import pictures
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.manifest import NO_LABEL, LabelClass
from pag_ros.runtime import Perception
from pag_ros.runtime.outputs import COMPUTED, maps_of
from pag_ros.writing import write_bytes

ROWS = 4
WIDTH_PX = 320
_DEPTH_RANGE_M = (0.3, 10.0)
"""Range of the colours of depth where no model says one."""
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 85)

Tile = tuple[str, pictures.Picture]


def write_sheets(
    dataset: Dataset, delta1: Sequence[float], perception: Perception, folder: Path
) -> list[Path]:
    """Write FOLDER/DATASET-best.jpg, -median.jpg and -worst.jpg; only -some.jpg without depth.

    A row shows a sample's input, depth, true depth, normals, labels and boundary, as far as the
    model and the dataset have them.

    Args:
        delta1: of each scored sample, NaN without true depth.

    Raises:
        ParameterError: the folder cannot be written.
    """
    written = []
    for name, indices in chosen(delta1).items():
        tiles = [tile for i in indices for tile in _row(dataset[i], i, delta1[i], perception)]
        path = folder / f"{file_name(dataset.name)}-{name}.jpg"
        _write(tiles, len(tiles) // len(indices), path)
        written.append(path)
    return written


def write_truth_sheet(dataset: Dataset, rows: int, path: Path) -> None:
    """Write `rows` samples, evenly spread over the dataset, with all their truth.

    Args:
        path: of the picture, .jpg or .png.

    Raises:
        ParameterError: it is neither, or cannot be written.
    """
    if path.suffix not in (".jpg", ".png"):
        raise ParameterError(f"{path}: pictures are written as .jpg or .png")
    chosen = np.linspace(0, len(dataset) - 1, min(rows, len(dataset))).astype(int)
    tiles = [_truth(dataset[int(i)], int(i), len(dataset.classes)) for i in chosen]
    _write([tile for row in tiles for tile in row], len(tiles[0]), path)


def _write(tiles: list[Tile], columns: int, path: Path) -> None:
    sheet = pictures.panel(tiles, columns=columns)
    try:
        options = _QUALITY if path.suffix == ".jpg" else ()
        data = cv2.imencode(path.suffix, sheet[..., ::-1], options)[1].tobytes()
        write_bytes(path, data, make_folder=True)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be written ({error.strerror})") from error


def _truth(sample: Sample, index: int, classes: int) -> list[Tile]:
    """A sample and its truth; `classes` (0: nobody named any) in hues, for there is no palette."""
    tiles = [(f"sample {index}", _small(sample.color, cv2.INTER_AREA))]
    if sample.depth is not None:
        tiles.append(("depth", _true_depth(sample.depth, _DEPTH_RANGE_M)))
    if sample.normals is not None:
        tiles.append(("normals", pictures.color_normals(_small(sample.normals))))
    if sample.labels is not None:
        count = classes or 1 + _largest_label(sample.labels)
        colors = [LabelClass("", hue(i, count)) for i in range(count)]
        tiles.append(("labels", pictures.color_labels(_small(sample.labels), colors)))
    if sample.boundary is not None:
        drawn = sample.boundary.mean(axis=0, dtype=np.float32)
        tiles.append(("boundary", pictures.color_boundary(_small(drawn, cv2.INTER_AREA))))
    return tiles


def _largest_label(labels: NDArray[np.uint8]) -> int:
    known = labels[labels != NO_LABEL]
    return int(known.max()) if known.size else 0


def _true_depth(depth: NDArray[np.float32], range_m: tuple[float, float]) -> pictures.Picture:
    return pictures.color_depth(_small(depth), *range_m)


def hue(number: int, count: int) -> tuple[int, int, int]:
    """Colour number `number` of `count` that are told apart."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.6, 0.6 + 0.35 * (number % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def chosen(delta1: Sequence[float], rows: int = ROWS) -> dict[str, list[int]]:
    """Sheet -> indices of its samples: the best, those around the median, the worst first."""
    values = np.asarray(delta1, np.float64)
    order = np.flatnonzero(np.isfinite(values))
    order = order[np.argsort(-values[order], kind="stable")]
    if not len(order):
        spread = np.linspace(0, len(values) - 1, min(rows, len(values))).astype(int)
        return {"some": [int(i) for i in spread]} if len(values) else {}
    middle = max(0, (len(order) - rows) // 2)
    sheets = {"best": order[:rows], "median": order[middle : middle + rows]}
    sheets["worst"] = order[::-1][:rows]
    return {name: [int(i) for i in indices] for name, indices in sheets.items()}


def _row(sample: Sample, index: int, delta1: float, perception: Perception) -> list[Tile]:
    manifest = perception.session.manifest
    wanted = maps_of(manifest) - {COMPUTED}
    result = perception.process(sample.color, sample.focal_px, None, wanted)
    assert result is not None, "without a deadline no frame is skipped"
    title = f"sample {index}" + (f", delta1 {delta1:.2f}" if np.isfinite(delta1) else "")
    outputs = color_outputs(Outputs.of(result), manifest, _small)
    tiles = [(title, _small(sample.color, cv2.INTER_AREA)), *outputs.items()]
    if sample.depth is not None:
        colored = _true_depth(sample.depth, manifest.depth_range_m)
        tiles.insert(2 if "depth" in manifest.heads else 1, ("true depth", colored))
    return tiles


def _small(pixels: NDArray[Any], interpolation: int = cv2.INTER_NEAREST) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))


def file_name(name: str) -> str:
    """A dataset's name as that of a file."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)[:80]
