"""Writes samples of recordings and other pictures in the layout "rooms"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.rooms import HEADER, INDEX, RUNNER_UP, TRUTHS
from pag_ros.lab.datasets.sample import Sample
from pag_ros.writing import write_bytes, write_text

FORMAT = 1
_QUALITY = 95
_MAX_MM = 65535


def write_sample(folder: Path, name: str, sample: Sample, picture: bool = True) -> None:
    """Write FOLDER/NAME.color.jpg, and its truths, as far as it has them.

    These are .depth.png, .normal.png, .label.png and .second.png.

    The index that names the frame is to be written after all of them.

    Args:
        picture: write it, too; else the truths alone.

    Raises:
        DatasetError: they cannot be written.
    """
    if picture:
        _write(folder / f"{name}.color.jpg", sample.color[..., ::-1])
    if sample.depth is not None:
        millimetres = np.nan_to_num(sample.depth * 1000.0, nan=0.0).clip(0, _MAX_MM)
        _write(folder / f"{name}.depth.png", millimetres.round().astype(np.uint16))
    if sample.normals is not None:
        coded = np.nan_to_num((sample.normals + 1.0) * 127.5, nan=0.0)
        _write(folder / f"{name}.normal.png", coded.round().astype(np.uint8)[..., ::-1])
    if sample.labels is not None:
        _write(folder / f"{name}.label.png", sample.labels)
    if sample.runner_up is not None:
        # As blue, green and red: OpenCV writes no picture of two channels.
        planes = np.dstack([np.zeros_like(sample.runner_up[..., 0]), sample.runner_up[..., ::-1]])
        _write(folder / f"{name}.second.png", planes)


def truths_of(sample: Sample) -> tuple[str, ...]:
    """The names of the truths that a sample has, as the index tells them."""
    return tuple(name for name in (*TRUTHS, RUNNER_UP) if getattr(sample, name) is not None)


def index_line(name: str, focal_px: float, truths: Sequence[str]) -> str:
    """A frame's line in the index, without its end."""
    return json.dumps({"id": name, "fx": focal_px, "truths": list(truths)})


def write_index(folder: Path, lines: Iterable[str]) -> None:
    """Name the frames of a folder, whose pictures are all there.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / INDEX, "".join(line + "\n" for line in lines))


def write_header(folder: Path, classes: Sequence[str]) -> None:
    """Say what the label ids mean, and that truths are not right to the pixel.

    Raises:
        OSError: it cannot be written.
    """
    header = {"format": FORMAT, "classes": list(classes), "exact": False}
    write_text(folder / HEADER, json.dumps(header, indent=1))


def _write(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    # Encoded here: of a full disk OpenCV tells nothing but False.
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if path.suffix == ".jpg" else []
    _, data = cv2.imencode(path.suffix, picture, options)
    try:
        write_bytes(path, data.tobytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror})") from error
