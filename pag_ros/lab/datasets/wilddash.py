"""WildDash 2: difficult street scenes from all over the world, in Cityscapes' 19 classes.

FOLDER/images/NAME.jpg
FOLDER/panoptic.json and FOLDER/panoptic/NAME.png    as published: COCO panoptic format
FOLDER/semantic/NAME.png                             or label ids, as pano2sem.py writes them

The public part (wd_public_02, 4256 pictures) has labels; it is not split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import files
from pag_ros.lab.datasets.cityscapes_classes import CLASSES, LABEL_IDS
from pag_ros.lab.datasets.sample import Sample
from pag_ros.manifest import NO_LABEL
from pag_ros.reading import reading

FOCAL_PER_WIDTH = 0.9
"""fx as a share of the width: the dataset has no calibration, its dash cameras see about 58
degrees. There is no depth to score, so nothing depends on it but what the network assumes."""

_MAX_ID = (1 << 32) - 1

_FURTHER = {
    31: ("onrails", "train"),
    34: ("pickup", "truck"),
    35: ("van", "car"),
    38: ("roadmarking", "road"),
    41: ("manhole", "road"),
    43: ("pothole", "road"),
}
"""WildDash id -> its name and the Cityscapes class it counts as, where Cityscapes has no such name.
Source: wd2_unified_label_policy.json in ozendelait/wilddash_scripts ("cs_name")."""


class WildDash:
    """The public pictures of WildDash 2."""

    classes = CLASSES
    protocol = DepthProtocol(cap_m=80.0)

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"wilddash {split}"
        self._folder = folder
        self._pictures = files.matching(folder / "images", "*.jpg")
        self._index = _Panoptic(folder) if (folder / "panoptic.json").is_file() else None

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self._pictures[index]
        color = files.read_color(picture)
        labels = self._labels(picture.stem)
        files.same_size(picture, color, labels)
        return Sample(color, FOCAL_PER_WIDTH * color.shape[1], labels=labels)

    def _labels(self, name: str) -> NDArray[np.uint8]:
        if self._index is not None:
            return self._index.labels(name)
        names = {number: name for number, (name, _) in _FURTHER.items()}
        table = _table({**dict(zip(LABEL_IDS, CLASSES, strict=True)), **names})
        return table.take(files.read_gray8(self._folder / "semantic" / f"{name}.png"))


class _Panoptic:
    """What panoptic.json says: which class each segment of a panoptic picture is of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "panoptic.json"
        data = files.read_json(path)
        with reading(path, "in COCO panoptic format", DatasetError):
            self._table = _table(
                {
                    checks.whole(c["id"], "categories: id", 0, _MAX_ID) & 255: str(c["name"])
                    for c in data["categories"]
                }
            )
            self._segments = {
                Path(a["file_name"]).stem: _segments(a["segments_info"])
                for a in data["annotations"]
            }

    def labels(self, name: str) -> NDArray[np.uint8]:
        """[H,W] train ids of a picture."""
        path = self._folder / "panoptic" / f"{name}.png"
        if name not in self._segments:
            raise DatasetError(f"{self._folder / 'panoptic.json'}: no annotation of {name}.png")
        ids, classes = self._segments[name]
        segment = files.read_color(path).astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
        place = np.searchsorted(ids, segment).clip(max=len(ids) - 1)
        known = ids[place] == segment
        return np.where(known, self._table.take(classes[place]), NO_LABEL).astype(np.uint8)


def _segments(info: list[dict[str, Any]]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Segment ids in rising order and their category ids."""
    pairs = [
        (
            checks.whole(segment["id"], "segments_info: id", 0, _MAX_ID),
            checks.whole(segment["category_id"], "segments_info: category_id", 0, 255),
        )
        for segment in info
    ]
    ids, categories = zip(*(sorted(pairs) or [(0, 0)]), strict=True)
    return np.array(ids, np.uint32), np.array(categories, np.uint8)


def _table(names: dict[int, str]) -> NDArray[np.uint8]:
    """[256] category id -> train id, by the category's name ("traffic light", "trafficlight")."""
    by_name = {name.replace(" ", ""): i for i, name in enumerate(CLASSES)}
    by_name.update({name: CLASSES.index(same) for name, same in _FURTHER.values()})
    table = np.full(256, NO_LABEL, np.uint8)
    for category, name in names.items():
        plain = "".join(c for c in name.lower() if c.isalnum())
        table[category] = by_name.get(plain, NO_LABEL)
    return table
