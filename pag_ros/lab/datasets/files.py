"""Reads the files of datasets, none of which is trusted: sizes first, then contents.

Every function raises a `DatasetError` that names the file, what is wrong and what would be right.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError, ImageError
from pag_ros.image.compressed import read_color as decode_color
from pag_ros.image.compressed import read_grey as decode_grey
from pag_ros.lab.datasets.mat_structure import check_mat
from pag_ros.reading import reading

MAX_PICTURE_BYTES = 1 << 27
MAX_TEXT_BYTES = 1 << 25
MAX_MAT_BYTES = 1 << 28
"""Largest MATLAB 5 file, and what it may unpack to."""

_Picture = TypeVar("_Picture", bound=NDArray[Any])


def read_color(path: Path) -> NDArray[np.uint8]:
    """A JPEG or PNG as [H,W,3] uint8 RGB; transparency is dropped."""
    # Not upright: a photograph's orientation tag would turn it away from its labels.
    return _decode(path, decode_color)


def read_gray8(path: Path) -> NDArray[np.uint8]:
    """A grey 8-bit picture, such as a map of label ids, as [H,W] uint8."""
    picture = _decode(path, decode_grey)
    if picture.dtype != np.uint8:
        raise DatasetError(f"{path}: grey of 16 bits; expected 8 bits")
    return np.asarray(picture, np.uint8)


def read_gray16(path: Path) -> NDArray[np.uint16]:
    """A grey 16-bit PNG, such as depth or disparity, as [H,W] uint16."""
    picture = _decode(path, decode_grey)
    if picture.dtype != np.uint16:
        raise DatasetError(f"{path}: grey of 8 bits; expected 16 bits")
    return np.asarray(picture, np.uint16)


def read_depth(
    path: Path, units_per_metre: float, unknown: tuple[int, ...] = (0,)
) -> NDArray[np.float32]:
    """Depth in a grey 16-bit PNG as [H,W] float32 metres, NaN where it stores one of `unknown`."""
    stored = read_gray16(path)
    depth = np.asarray(stored / np.float32(units_per_metre), np.float32)
    for value in unknown:
        depth[stored == value] = np.nan
    return depth


def read_json(path: Path) -> Any:
    """The contents of a JSON file."""
    with reading(path, "a readable JSON file", DatasetError):
        return json.loads(read_text(path))


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """A text file in UTF-8 of at most `limit` bytes."""
    with reading(path, "a text file in UTF-8", DatasetError):
        return read_bytes(path, limit).decode("utf-8")


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB 5 file, as `scipy.io.loadmat` gives them."""
    from scipy.io import loadmat

    with reading(path, "a readable MATLAB 5 file", DatasetError):
        content = read_bytes(path, MAX_MAT_BYTES)
        check_mat(content, MAX_MAT_BYTES)
        variables: dict[str, Any] = loadmat(io.BytesIO(content))
        return variables


def read_bytes(path: Path, limit: int) -> bytes:
    """A whole file of at most `limit` bytes."""
    with reading(path, "a file", DatasetError, "is it whole?"):
        size = path.stat().st_size
        if size > limit:
            raise DatasetError(f"{path}: {size} bytes, more than the {limit} such a file may have")
        return path.read_bytes()


def same_size(path: Path, *pictures: NDArray[Any] | None) -> None:
    """Check that the pictures of one frame are equally large; None is left out."""
    sizes = {p.shape[:2] for p in pictures if p is not None}
    if len(sizes) > 1:
        text = " and ".join(f"{w}x{h}" for h, w in sorted(sizes))
        raise DatasetError(f"{path}: its pictures differ in size ({text}); expected one size")


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files in `folder` that match `pattern`, sorted."""
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if not found:
        raise DatasetError(f"{folder}: no {pattern} in it; see docs/datasets.md for the layout")
    return found


def _decode(path: Path, decode: Callable[[bytes], _Picture]) -> _Picture:
    data = read_bytes(path, MAX_PICTURE_BYTES)
    try:
        picture = decode(data)
    except ImageError as error:
        raise DatasetError(f"{path}: not a whole JPEG or PNG ({error}); fetch it again") from error
    # Pillow's arrays are read-only, which torch warns about.
    writable: _Picture = np.require(picture, requirements=["WRITEABLE"])
    return writable
