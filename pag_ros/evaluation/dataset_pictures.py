"""Sheets of pictures of a scored dataset: its best, middling and worst samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.evaluation.dataset_scores import run
from pag_ros.evaluation.datasets import Dataset, Sample
from pag_ros.manifest import Manifest
from pag_ros.runtime import FrameResult, Perception, pictures

ROWS = 4
WIDTH_PX = 320


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
        path = folder / f"{_file_name(dataset.name)}-{name}.jpg"
        sheet = pictures.panel(tiles, columns=len(tiles) // len(indices))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".jpg", sheet[..., ::-1])[1].tobytes())
        except OSError as error:
            raise ParameterError(f"{path}: cannot be written ({error.strerror})") from error
        written.append(path)
    return written


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


def _row(
    sample: Sample, index: int, delta1: float, perception: Perception
) -> list[tuple[str, pictures.Picture]]:
    manifest = perception.session.manifest
    result = run(perception, sample, set(manifest.heads))
    title = f"sample {index}" + (f", delta1 {delta1:.2f}" if np.isfinite(delta1) else "")
    tiles = [(title, _small(sample.color, cv2.INTER_AREA)), *_outputs(result, manifest)]
    if sample.depth is not None:
        truth = np.where(sample.depth > 0, sample.depth, np.float32(np.nan))
        colored = pictures.color_depth(_small(truth), *manifest.depth_range_m)
        tiles.insert(2 if "depth" in manifest.heads else 1, ("true depth", colored))
    return tiles


def _outputs(result: FrameResult, manifest: Manifest) -> list[tuple[str, pictures.Picture]]:
    tiles = []
    if "depth" in manifest.heads and result.depth is not None:
        colored = pictures.color_depth(_small(result.depth), *manifest.depth_range_m)
        tiles.append(("depth", colored))
    if "normals" in manifest.heads and result.normals is not None:
        tiles.append(("normals", pictures.color_normals(_small(result.normals))))
    if "segmentation" in manifest.heads and result.labels is not None:
        colored = pictures.color_labels(_small(result.labels), manifest.classes)
        tiles.append(("labels", colored))
    if result.boundary is not None:
        tiles.append(("boundary", pictures.color_boundary(_small(result.boundary))))
    return tiles


def _small(pixels: NDArray[Any], interpolation: int = cv2.INTER_NEAREST) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)[:80]
