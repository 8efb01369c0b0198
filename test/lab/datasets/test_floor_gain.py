"""What the floor makes of a model's depth, on scenes whose truth is known."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from floor_scenes import CAMERA, FLOOR, HEIGHT, WIDTH, FloorScene, look

from pag_ros.errors import DatasetError
from pag_ros.evaluation.metrics import DepthProtocol
from pag_ros.image.letterbox import Letterbox
from pag_ros.lab.datasets import Sample
from pag_ros.lab.datasets.floor_gain import (
    WAYS,
    FrameGain,
    measure_frame,
    measure_frames,
    summary,
)
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.datasets.scores import score_dataset
from pag_ros.lab.datasets.true_floor import TrueFloor
from pag_ros.manifest import LabelClass
from pag_ros.runtime import Perception, Prediction, open_session

NAMES = ("wall", "floor", "object")


class Told:
    """A network that sees the scene's floor, and the rest of it, wrong by a factor each."""

    def __init__(self, scene: FloorScene, floor: float, rest: float, names: tuple[str, ...]):
        wrong = np.where(scene.labels == FLOOR, np.float32(floor), np.float32(rest))
        self.prediction = Prediction(
            depth=scene.depth * wrong,
            normals=scene.normals,
            labels=scene.labels,
            confidence=np.ones_like(scene.depth),
            boundary=None,
            computed=np.zeros_like(scene.labels),
            keep_used=(),
            stage_seconds=(),
        )
        manifest = SimpleNamespace(
            name="told",
            heads=("depth", "normals", "segmentation"),
            classes=tuple(LabelClass(name, (0, 0, 0)) for name in names),
        )
        self.session = SimpleNamespace(manifest=manifest)

    def process(
        self, image: Any, focal_px: float, allowance: None, wanted: Any, rescale: Any
    ) -> Prediction:
        assert allowance is None
        assert focal_px == CAMERA.fx
        box = Letterbox.fit((HEIGHT, WIDTH), (HEIGHT, WIDTH))
        return self.prediction if rescale is None else rescale(self.prediction, box)


def measured(
    floor: float, rest: float, known: bool = True, names: tuple[str, ...] = NAMES
) -> FrameGain:
    scene = look()
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8), CAMERA.fx, depth=scene.depth)
    true_floor = TrueFloor(scene.mount, scene.labels == FLOOR) if known else None
    told = cast(Perception, Told(scene, floor, rest, names))
    return measure_frame(sample, true_floor, told, DepthProtocol())


def test_a_wrong_scale_is_mended_by_the_floor() -> None:
    frame = measured(0.7, 0.7)
    assert frame.delta1 == pytest.approx(
        {"network": 0.0, "floor": 1.0, "pitch unknown": 1.0, "perfect": 1.0}
    )
    for way in WAYS[1:]:
        assert frame.factors[way] == pytest.approx(1 / 0.7, rel=0.01)
    assert frame.floor_share == pytest.approx(np.mean(look().labels == FLOOR))
    assert frame.on_floor == pytest.approx(1 / 0.7, rel=0.01)
    assert frame.elsewhere == pytest.approx(1 / 0.7, rel=0.01)


def test_a_floor_that_is_wrong_alone_does_harm() -> None:
    frame = measured(0.6, 1.0)
    share = frame.floor_share
    assert frame.delta1["network"] == pytest.approx(1.0 - share)
    assert frame.delta1["floor"] == pytest.approx(share)
    assert frame.on_floor == pytest.approx(1 / 0.6, rel=0.01)
    assert frame.elsewhere == pytest.approx(1.0, rel=0.01)


def test_the_pitch_is_not_told_where_it_is_unknown() -> None:
    """A network whose normals are turned by 12 degrees finds another vertical, and factor."""
    scene, turned = look(), look(pitch_degrees=37.0)
    assert turned.mount.up is not None
    up = np.float32(turned.mount.up)
    normals = np.where((scene.labels == FLOOR)[..., None], up, scene.normals)
    told = Told(scene, 1.0, 1.0, NAMES)
    told.prediction = replace(told.prediction, normals=normals.astype(np.float32))
    sample = Sample(np.zeros((HEIGHT, WIDTH, 3), np.uint8), CAMERA.fx, depth=scene.depth)
    floor = TrueFloor(scene.mount, scene.labels == FLOOR)
    frame = measure_frame(sample, floor, cast(Perception, told), DepthProtocol())
    assert frame.factors["floor"] == pytest.approx(1.0, rel=0.02)
    assert abs(frame.factors["pitch unknown"] - 1.0) > 0.1


def test_without_a_factor_the_network_s_depth_stands() -> None:
    unknown, unseen = (
        measured(0.7, 0.7, known=False),
        measured(0.7, 0.7, names=("floor", "x", "y")),
    )
    for frame in (unknown, unseen):
        assert set(frame.factors) == {"perfect"}
        assert frame.delta1["floor"] == frame.delta1["pitch unknown"] == 0.0
        assert frame.delta1["perfect"] == 1.0
    assert unknown.floor_share == 0.0
    assert unknown.on_floor is None


def test_a_summary_counts_and_averages() -> None:
    frames = [measured(0.5, 0.8), measured(0.8, 1.28, known=False), measured(0.6, 0.96)]
    gain = summary(frames)
    assert (gain.frames, gain.known) == (3, 2)
    assert gain.factors == {"floor": 2, "pitch unknown": 2, "perfect": 3}
    for way in WAYS:
        assert gain.delta1[way] == pytest.approx(np.mean([f.delta1[way] for f in frames]))
    logs = [np.log(frame.factors["perfect"]) for frame in frames]
    assert gain.spread == pytest.approx(np.std(logs))
    assert gain.apart == pytest.approx(1.6, rel=0.01)
    assert gain.correlation == pytest.approx(1.0)
    opposed = summary([measured(0.5, 0.9), measured(0.6, 0.8)])
    assert opposed.correlation == pytest.approx(-1.0)
    alone = summary(frames[1:2])
    assert alone.apart is None
    assert alone.correlation is None


def test_frames_of_a_dataset_are_measured(rooms: Path, tiny_model: Path) -> None:
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["wall", "floor"]}))
    lines = (rooms / "frames.jsonl").read_text().splitlines()
    lines[2] = json.dumps({"id": "000002", "fx": 54.0, "truths": ["labels"]})
    (rooms / "frames.jsonl").write_text("\n".join(lines) + "\n")
    seen: list[int] = []
    session = open_session(tiny_model, "cpu")
    frames = measure_frames(RoomPictures([rooms]), session, 0.1, lambda: seen.append(0))
    assert len(seen) == 6
    assert len(frames) == 5
    whole, least = (
        score_dataset(RoomPictures([rooms]), session, [budget]).delta1 for budget in (1.0, 0.1)
    )
    assert whole != least
    assert [frame.delta1["network"] for frame in frames] == [*whole[:2], *whole[3:]]
    json.dumps(asdict(summary(frames)), allow_nan=False)
    (rooms / "frames.jsonl").write_text(lines[2] + "\n")
    with pytest.raises(DatasetError, match="no frame has a true depth"):
        measure_frames(RoomPictures([rooms]), session, 0.1)
    session.close()
