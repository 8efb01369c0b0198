"""The 19 classes of the Cityscapes benchmark, which KITTI and WildDash share.

Source: Cordts et al., CVPR 2016, and the table of ids in cityscapesScripts (labels.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pag_ros.manifest import NO_LABEL

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The classes, by train id."""

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Each class's id in gtFine's labelIds pictures; all other ids are not scored."""


def train_ids(label_ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Label ids [H,W] as train ids, `NO_LABEL` where a pixel is not scored."""
    table = np.full(256, NO_LABEL, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(CLASSES))
    return table.take(label_ids)
