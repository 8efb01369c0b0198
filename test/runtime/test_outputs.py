"""The table of outputs names every map that there is, as sessions and frames really give it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pag_ros.evaluation.scoring import Outputs
from pag_ros.image.enlarging import Enlarger
from pag_ros.image.letterbox import Letterbox
from pag_ros.manifest import HEADS, load_manifest
from pag_ros.replay.live_log import BYTES_PER_PIXEL, OUTPUT_TOPICS, READERS
from pag_ros.ros.topics import MAP_TOPICS
from pag_ros.runtime import FrameResult, Prediction, open_perception
from pag_ros.runtime.frame_io import prediction_of
from pag_ros.runtime.model_layout import output_layout
from pag_ros.runtime.outputs import BY_NAME, COMPUTED, OUTPUTS, maps_in, maps_of

NAMES = [output.name for output in OUTPUTS]


@pytest.mark.parametrize("holder", [FrameResult, Prediction])
def test_every_map_of_a_frame_is_in_the_table(holder: type) -> None:
    maps = [entry.name for entry in fields(holder) if "NDArray" in str(entry.type)]
    assert maps == NAMES


def test_a_part_is_a_head_or_where_it_was_computed(tiny_model: Path) -> None:
    assert {output.part for output in OUTPUTS} == {*HEADS, COMPUTED}
    manifest = replace(load_manifest(tiny_model), heads=("segmentation",))
    assert maps_of(manifest) == {"labels", "confidence", "computed"}


def test_maps_are_what_the_table_says(tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1)
    result = perception.process(np.zeros((30, 50, 3), np.uint8), 60.0)
    perception.close()
    has = maps_of(perception.session.manifest)
    given = [name for name in NAMES if name in has]
    for holder, size in ((result, (30, 50)), (result.prediction, (48, 64))):
        maps = maps_in(holder)
        assert list(maps) == given
        for name, pixels in maps.items():
            assert pixels.dtype == BY_NAME[name].dtype
            assert pixels.shape == BY_NAME[name].shape(*size)
            assert pixels.nbytes == size[0] * size[1] * BY_NAME[name].bytes_per_pixel


def test_enlarged_normals_stay_unit_and_labels_unmixed() -> None:
    enlarger = Enlarger(Letterbox.fit((30, 50), (4, 4)))
    normals = np.zeros((4, 4, 3), np.float32)
    normals[::2, :, 0], normals[1::2, :, 2] = 1.0, -1.0
    large = BY_NAME["normals"].enlarge(enlarger, normals)
    np.testing.assert_allclose(np.linalg.norm(large, axis=2), 1.0, atol=1e-5)
    for name in ("labels", "computed"):
        ids = np.array([[0, 200]] * 4, np.uint8).repeat(2, axis=1)
        assert set(np.unique(BY_NAME[name].enlarge(enlarger, ids))) == {0, 200}


def test_a_model_without_a_head_says_that_it_knows_nothing(tiny_model: Path) -> None:
    manifest = replace(load_manifest(tiny_model), heads=(), blocks=())
    assert set(output_layout(manifest)) == {"count"}
    prediction = prediction_of({"count": np.zeros(0, np.int32)}, manifest, ())
    assert np.isnan(prediction.depth).all()
    assert np.isnan(prediction.normals).all()
    assert prediction.normals.shape == (48, 64, 3)
    assert (prediction.labels == 255).all()
    assert prediction.boundary is None


def test_every_output_has_a_topic_and_a_replay_listens_to_those_it_scores() -> None:
    assert list(MAP_TOPICS) == NAMES
    assert {entry.name for entry in fields(Outputs)} == {*NAMES} - {"confidence"}
    assert set(OUTPUT_TOPICS) == set(READERS) == {"depth", "normals", "labels", "computed"}
    assert OUTPUT_TOPICS["labels"] == "segmentation/mask"
    assert BYTES_PER_PIXEL == 4 + 12 + 1 + 1


def test_the_node_publishes_every_output_under_its_topic() -> None:
    pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")
    from pag_ros.ros.outputs import OUTPUTS as PUBLISHED

    for name, topic in MAP_TOPICS.items():
        assert PUBLISHED[topic].needs == {name}
