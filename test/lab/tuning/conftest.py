"""Two models that guess, and frames that follow one another, as tuning compares them."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.lab.datasets import Sample
from pag_ros.manifest import BlockSpec, LabelClass, Manifest
from pag_ros.runtime import Prediction

SIZE = 12, 16
CLASSES = tuple(LabelClass(name, (40 * i, 90, 200)) for i, name in enumerate(["wall", "floor"]))
HEADS = ("depth", "normals", "segmentation")


class GuessingSession:
    """Depth by a factor too far, normals tilted, everything of one class; where the block did not
    run, everything is twice as far."""

    backend = "guess"
    stages = ("encoder", "block", "heads")

    def __init__(self, factor=1.0, tilt_deg=0.0, label=1, classes=CLASSES, heads=HEADS):
        self.factor, self.tilt, self.label = factor, np.radians(tilt_deg), label
        self.manifest = Manifest(
            name="guess",
            sha256="0" * 64,
            height=SIZE[0],
            width=SIZE[1],
            focal_range=(10.0, 30.0),
            depth_range_m=(0.3, 10.0),
            classes=classes,
            blocks=(BlockSpec("block", *SIZE, 8, 100),),
            dense_macs=1,
            heads=heads,
            license="none",
            training_data="none",
        )

    def infer(self, image, focal_px, keep, deadline=None, thresholds=None):
        ran = (np.arange(SIZE[0] * SIZE[1]) < keep[0]).reshape(SIZE)
        normal = np.float32([np.sin(self.tilt), 0.0, -np.cos(self.tilt)])
        return Prediction(
            depth=np.where(ran, 2.0, 4.0).astype(np.float32) * np.float32(self.factor),
            normals=np.tile(normal, (*SIZE, 1)),
            labels=np.full(SIZE, self.label, np.uint8),
            confidence=np.ones(SIZE, np.float32),
            boundary=None,
            computed=ran.astype(np.uint8),
            keep_used=tuple(keep),
            stage_seconds=(0.001, 0.001, 0.001),
        )

    def close(self):
        pass


class Frames:
    """`count` frames of a wall at 2 m, its lower half floor; counts how often one is read.

    Args:
        kinds: of the truth that there is.
    """

    name, classes, protocol = "frames <i>", ("wall", "floor"), DepthProtocol()

    def __init__(self, count=4, kinds=("depth", "normals", "labels"), metres=2.0):
        self.count, self.kinds, self.metres = count, kinds, metres
        self.read = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        labels = np.zeros(SIZE, np.uint8)
        labels[SIZE[0] // 2 :] = 1
        truth = {
            "depth": np.full(SIZE, self.metres, np.float32),
            "normals": np.tile(np.float32([0, 0, -1]), (*SIZE, 1)),
            "labels": labels,
        }
        color = np.full((*SIZE, 3), 10 * index, np.uint8)
        return Sample(color, 20.0, **{kind: truth[kind] for kind in self.kinds})


@pytest.fixture
def guessing():
    return GuessingSession


@pytest.fixture
def frames_of():
    return Frames
