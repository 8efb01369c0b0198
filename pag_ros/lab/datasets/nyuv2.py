"""NYU Depth v2, labelled part: 1449 indoor pictures with depth and 40 or 13 classes.

FOLDER/nyu_depth_v2_labeled.mat    MATLAB 7.3, that is HDF5
FOLDER/splits.mat                  795 pictures for training, 654 for testing
FOLDER/classMapping40.mat          the 894 labels in 40 classes (Gupta et al. 2013)
FOLDER/class13Mapping.mat          those in 13 classes (Couprie et al. 2013), for nyuv2-13
FOLDER/normals/000001.npz          optional: "normals" [480,640,3], and "valid" [480,640]
FOLDER/normals/nm_000001.mat       or as Fouhey et al. 2013 publish them: nx, ny, nz, depthValid

Numbers count from 1. Without published normals they are computed from the in-painted depth: good
for training, not comparable with publications; `NyuV2.normals_from` says which there are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS
from pag_ros.image.camera_info import Intrinsics
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.geometry import normals_of
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import NO_LABEL
from pag_ros.reading import reading

CAMERA = Intrinsics(518.857901, 519.469611, 325.582449, 253.736166)
"""Of the colour camera, to which depth is registered (the dataset's toolbox, camera_params.m)."""

VALID = np.s_[45:471, 41:601]
"""Rows and columns with depth of their own (Eigen's crop); around them it is extrapolated, and the
colour pictures have a white frame. Labels are published and scored within it, too."""

CLASSES_40 = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refrigerator",
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "other structure",
    "other furniture",
    "other prop",
)
CLASSES_13 = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "television",
    "wall",
    "window",
)

HEIGHT, WIDTH = 480, 640
RAW_LABELS = 894


class NyuV2:
    """The labelled pictures of one split, with 40 or 13 classes."""

    protocol = DEPTH_PROTOCOLS["nyu"]

    def __init__(self, folder: Path, split: str, classes: int = 40) -> None:
        self.classes = CLASSES_40 if classes == 40 else CLASSES_13
        self.name = f"nyuv2-{classes} {split}"
        self._folder = folder
        self._path = folder / "nyu_depth_v2_labeled.mat"
        self._table = label_table(folder, classes)
        self._file: Any = None  # opened when needed: an open file does not go to worker processes
        self._numbers = _split_numbers(folder / "splits.mat", split, self._count())

    @property
    def normals_from(self) -> str:
        """ "published" or "depth"."""
        return "published" if (self._folder / "normals").is_dir() else "depth"

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Sample:
        number = int(self._numbers[index])
        color = np.ascontiguousarray(self._read("images", number).transpose(2, 1, 0))
        depth = np.ascontiguousarray(self._read("depths", number).T).astype(np.float32)
        depth[~(np.isfinite(depth) & (depth > 0.0))] = np.nan
        raw = self._read("labels", number).T
        labels = self._table.take(np.minimum(raw, RAW_LABELS + 1))
        computed = normals_of(depth, CAMERA)
        normals = (
            self._published(number, computed) if self.normals_from == "published" else computed
        )
        return Sample(color, CAMERA.fx, _inside(depth), _inside(normals), _inside(labels, NO_LABEL))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> Any:
        if self._file is None:
            import h5py  # type: ignore[import-untyped]

            with reading(self._path, "a MATLAB 7.3 file", DatasetError, "fetch it again"):
                self._file = h5py.File(self._path, "r")
        return self._file

    def _count(self) -> int:
        """Pictures in the file; checks the size and kind of each array."""
        expected = {
            "images": ((3, WIDTH, HEIGHT), "u1"),
            "depths": ((WIDTH, HEIGHT), "f4"),
            "labels": ((WIDTH, HEIGHT), "u2"),
        }
        counts = set()
        file = self._open()
        with reading(self._path, "a whole MATLAB 7.3 file", DatasetError, "fetch it again"):
            for name, (shape, kind) in expected.items():
                array = file.get(name)
                if getattr(array, "shape", ())[1:] != shape or array.dtype != kind:
                    raise ValueError(f"{name!r} is not [n, {shape}] of {kind}")
                counts.add(len(array))
        if len(counts) > 1:
            raise DatasetError(f"{self._path}: pictures, depths and labels differ in number")
        return int(counts.pop())

    def _read(self, name: str, number: int) -> NDArray[Any]:
        file = self._open()
        with reading(self._path, f"a file with {name} of picture {number}", DatasetError):
            return np.asarray(file[name][number - 1])

    def _published(self, number: int, computed: NDArray[np.float32]) -> NDArray[np.float32]:
        normals = read_normals(self._folder / "normals", number)
        # The publications' files differ in the signs of their axes and do not say them.
        agreement = np.nansum(normals * computed, axis=(0, 1))
        return np.where(agreement < 0, -normals, normals).astype(np.float32)


def label_table(folder: Path, classes: int) -> NDArray[np.uint8]:
    """[896] raw label -> class id; 0 (unlabelled) and what no class has -> `NO_LABEL`."""
    path = folder / "classMapping40.mat"
    mapped = _numbers(path, files.read_mat(path).get("mapClass"), RAW_LABELS, 40)
    if classes == 13:
        path = folder / "class13Mapping.mat"
        value = files.read_mat(path).get("classMapping13")
        if value is not None and value.dtype.names:  # a struct: labels13 and the names
            value = value[value.dtype.names[0]].ravel()[0]
        to_13 = _numbers(path, value, 40, 13)
        mapped = np.where(mapped > 0, to_13[np.maximum(mapped, 1) - 1], 0)
    table = np.where(mapped > 0, mapped - 1, NO_LABEL)
    return np.array([NO_LABEL, *table, NO_LABEL], np.uint8)


def read_normals(folder: Path, number: int) -> NDArray[np.float32]:
    """[480,640,3] unit, NaN = unknown, of a published file."""
    path = folder / f"{number:06d}.npz"
    if path.is_file():
        normals, valid = _read_npz(path)
    else:
        path = folder / f"nm_{number:06d}.mat"
        data = files.read_mat(path)
        with reading(path, "a file with nx, ny, nz and depthValid", DatasetError):
            normals = np.stack([data["nx"], data["ny"], data["nz"]], axis=-1).astype(np.float32)
            valid = np.asarray(data["depthValid"]) > 0
    if normals.shape != (HEIGHT, WIDTH, 3) or valid.shape != (HEIGHT, WIDTH):
        raise DatasetError(f"{path}: {normals.shape}; expected normals of {WIDTH}x{HEIGHT} pixels")
    length = np.linalg.norm(np.nan_to_num(normals), axis=2, keepdims=True)
    known = valid[..., None] & (length > 0.5)
    unknown = np.full_like(normals, np.nan)
    return np.asarray(np.divide(normals, length, out=unknown, where=known))


def _read_npz(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    import zipfile

    with reading(path, f"a file with 'normals' [{HEIGHT},{WIDTH},3]", DatasetError):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > files.MAX_PICTURE_BYTES:
                raise DatasetError(f"{path}: unpacks to more than normals of a picture need")
        with np.load(path, allow_pickle=False) as data:
            normals = np.asarray(data["normals"], np.float32)
            valid = data["valid"] > 0 if "valid" in data else np.ones(normals.shape[:2], bool)
            return normals, valid


def _split_numbers(path: Path, split: str, count: int) -> NDArray[np.int64]:
    value = files.read_mat(path).get(f"{split}Ndxs")
    numbers = _numbers(path, value, None, count)
    if not numbers.size or numbers.min() < 1:
        raise DatasetError(f"{path}: '{split}Ndxs' is not a list of numbers from 1")
    return numbers


def _numbers(path: Path, value: Any, length: int | None, largest: int) -> NDArray[np.int64]:
    """A variable as [n] whole numbers of 0..largest."""
    size = "a list" if length is None else f"{length}"
    with reading(path, f"{size} of numbers from 0 to {largest}", DatasetError):
        numbers = np.asarray(value).ravel().astype(np.int64)
        if length not in (None, len(numbers)) or numbers.min() < 0 or numbers.max() > largest:
            raise ValueError(f"{len(numbers)} numbers, or some out of range")
        return numbers


def _inside(truth: NDArray[Any], unknown: float = np.nan) -> NDArray[Any]:
    """The truth where it is one, see `VALID`."""
    result = np.full_like(truth, unknown)
    result[VALID] = truth[VALID]
    return result
