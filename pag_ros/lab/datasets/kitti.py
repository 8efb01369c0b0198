"""KITTI: road scenes with depth from laser scans, and 200 pictures with 19 classes.

Depth (Eigen et al. 2014 split, improved ground truth of Uhrig et al. 2017), FOLDER holding
    2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png    raw data
    2011_09_26/calib_cam_to_cam.txt                                      where a list lacks fx
    2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000069.png
        16 bits, metres x 256, 0 unknown; also found below train/ and val/, as downloaded
    eigen_test_files_with_gt.txt, eigen_train_files_with_gt.txt          the split, see `parse_line`
Semantics: FOLDER/training/image_2/000000_10.png and FOLDER/training/semantic/000000_10.png.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS, DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.cityscapes_classes import CLASSES, train_ids
from pag_ros.lab.datasets.sample import Sample

FOCAL_PX = 721.5377
"""fx of the rectified colour cameras on 2011-09-26, when most drives were recorded."""

LISTS = {
    "test": ("eigen_test_files_with_gt.txt", "test_files.txt"),
    "train": ("eigen_train_files_with_gt.txt", "train_files.txt"),
    "val": ("eigen_val_files_with_gt.txt", "val_files.txt"),
}
"""Split -> what its list is called in the publications' code."""

_SIDES = {"l": "image_02", "r": "image_03"}


@dataclass(frozen=True)
class ListLine:
    """A line of a list: picture and truth, relative to the dataset; fx where the line has it."""

    picture: str
    truth: str
    focal_px: float | None


class KittiDepth:
    """Pictures of a split list that have a truth: 652 of Eigen's 697 test pictures.

    Scored in Garg's crop up to 80 m, as nearly all results since 2016.
    """

    classes: tuple[str, ...] = ()
    protocol = DEPTH_PROTOCOLS["kitti-garg"]

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"kitti-depth {split}"
        self._folder = folder
        path = _list_of(folder, split)
        lines = [line for line in files.read_text(path).splitlines() if line.strip()]
        entries = (parse_line(path, number, line) for number, line in enumerate(lines, 1))
        self._entries = [entry for entry in entries if entry is not None]
        if not self._entries:
            raise DatasetError(f"{path}: no line with a true depth; expected 'PICTURE DEPTH FX'")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self._entries[index]
        picture = self._folder / entry.picture
        color = files.read_color(picture)
        depth = files.read_depth(self._truth(entry.truth), units_per_metre=256.0)
        files.same_size(picture, color, depth)
        return Sample(color, entry.focal_px or _focal_px(self._folder, entry), depth=depth)

    def _truth(self, relative: str) -> Path:
        places = [self._folder / part / relative for part in ("", "train", "val")]
        return next((path for path in places if path.is_file()), places[0])


class KittiSemantic:
    """The 200 training pictures; the test set's labels are not public."""

    classes = CLASSES
    protocol = DepthProtocol(cap_m=80.0)

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"kitti-semantic {split}"
        self._folder = folder / "training"
        self._pictures = files.matching(self._folder / "image_2", "*_10.png")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index]
        color = files.read_color(picture)
        labels = train_ids(files.read_gray8(self._folder / "semantic" / picture.name))
        files.same_size(picture, color, labels)
        calibration = self._folder / "calib_cam_to_cam" / f"{picture.stem[:-3]}.txt"
        focal_px = rectified_focal_px(calibration) if calibration.is_file() else FOCAL_PX
        return Sample(color, focal_px, labels=labels)


def parse_line(path: Path, number: int, line: str) -> ListLine | None:
    """A line of a split list; None where it says that there is no truth.

    Known are "PICTURE DEPTH FX" (DEPTH is "None" without a truth) and "DRIVE FRAME SIDE", as in
    "2011_09_26/2011_09_26_drive_0002_sync 0000000069 l".

    Raises:
        DatasetError: the line is of neither kind or leads out of the dataset.
    """
    parts = line.split()
    if len(parts) == 3 and parts[2] in _SIDES:
        drive, frame, camera = parts[0], parts[1].zfill(10), _SIDES[parts[2]]
        truth = f"{Path(drive).name}/proj_depth/groundtruth/{camera}/{frame}.png"
        entry = ListLine(f"{drive}/{camera}/data/{frame}.png", truth, None)
    elif len(parts) in (2, 3) and parts[0].endswith((".png", ".jpg")):
        if parts[1] == "None":
            return None
        entry = ListLine(parts[0], parts[1], _number(parts[2]) if len(parts) == 3 else None)
    else:
        raise DatasetError(
            f"{path}: line {number} is {line[:80]!r}; "
            "expected 'PICTURE DEPTH FX' or 'DRIVE FRAME l'"
        )
    if any(Path(p).is_absolute() or ".." in Path(p).parts for p in (entry.picture, entry.truth)):
        raise DatasetError(f"{path}: line {number} leads out of the dataset; expected plain names")
    return entry


def rectified_focal_px(path: Path) -> float:
    """Read the left colour camera's fx after rectification from a calib_cam_to_cam.txt."""
    for line in files.read_text(path).splitlines():
        if line.startswith("P_rect_02:"):
            focal_px = _number(line.split()[1]) if len(line.split()) == 13 else None
            if focal_px is not None:
                return focal_px
    raise DatasetError(f"{path}: no line 'P_rect_02:' with 12 numbers; fetch the calibration again")


def _list_of(folder: Path, split: str) -> Path:
    if split.endswith(".txt"):
        return folder / split
    for name in LISTS[split]:
        if (folder / name).is_file():
            return folder / name
    names = " or ".join(LISTS[split])
    raise DatasetError(f"{folder}: no split list {names}; put it there, or name it with --split")


def _focal_px(folder: Path, entry: ListLine) -> float:
    path = folder / Path(entry.picture).parts[0] / "calib_cam_to_cam.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: missing, and the list has no focal length; add one of them")
    return rectified_focal_px(path)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 < value < 1e5 else None
