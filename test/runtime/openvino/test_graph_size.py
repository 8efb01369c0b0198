"""A model at other input sizes: sizes that fit together, the same weights, metric depth."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.errors import ParameterError
from pag_ros.image.letterbox import Letterbox
from pag_ros.manifest import load_manifest
from pag_ros.runtime import Deadline, find_model, open_session
from pag_ros.runtime.network_size import scaled_size, size_of

SIZES = [(32, 24), (96, 72), (128, 48), (40, 80)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["tiny", "shipped"])
def test_every_output_has_the_size(name: str, size: tuple[int, int], tiny_model: Path):
    model = tiny_model if name == "tiny" else find_model()
    session = open_session(model, "cpu", 1, size)
    manifest = session.manifest
    assert size_of(manifest) == size
    shape = (size[1], size[0])
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    keep = tuple(block.pixels for block in manifest.blocks)
    prediction = session.infer(image, 60.0, keep)
    assert prediction.depth.shape == prediction.labels.shape == prediction.confidence.shape == shape
    assert prediction.normals.shape == (*shape, 3)
    assert prediction.keep_used == keep
    assert (prediction.computed == len(keep)).all()
    assert np.isfinite(prediction.depth).all()
    assert f", {size[0]}x{size[1]}" in session.backend
    session.close()


def test_pixels_are_chosen_and_trimmed_on_the_grid_of_the_size(tiny_model: Path):
    session = open_session(tiny_model, "cpu", 1, (96, 72))
    image = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    chosen = session.infer(image, 60.0, (107, 50)).computed
    assert chosen[::8, ::8].sum() == 157
    # Of 2000 s of gated work one half is late, whatever the machine's own pace.
    deadline = Deadline(time.perf_counter() + 1000.0, (0.0, 1000.0, 1000.0, 0.0))
    assert session.infer(image, 60.0, (108, 108), deadline).keep_used[0] in (53, 54)
    with pytest.raises(ValueError, match=r"keep of block0 must be 0\.\.108"):
        session.infer(image, 60.0, (109, 1))
    session.close()


def test_its_own_size_is_the_model_as_it_is(tiny_model: Path):
    own = open_session(tiny_model, "cpu", 1)
    named = open_session(tiny_model, "cpu", 1, (64, 48))
    assert named.manifest == own.manifest == load_manifest(tiny_model)
    assert named.backend == own.backend
    own.close()
    named.close()


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_depth_is_metric_at_every_size(scale: float):
    """Of rendered rooms: at half the size they were seen 1.46 times as far away, were it not for
    the manifest's exponent, and at 1.5 times the size .76 times."""
    own = load_manifest(find_model())
    assert _depth_at(scaled_size(own, scale)) == pytest.approx(_depth_at(None), rel=0.15)


def test_bars_beside_the_picture_move_nothing_away():
    own = load_manifest(find_model())
    wide = _depth_at((2 * own.width, own.height))
    assert wide == pytest.approx(_depth_at(None), rel=0.15)


def _depth_at(size: tuple[int, int] | None) -> float:
    """Typical median depth of the shipped pictures, in metres, at an input size."""
    session = open_session(find_model(), "cpu", 2, size)
    manifest = session.manifest
    keep = tuple(block.pixels for block in manifest.blocks)
    medians = []
    for picture, focal_px in _rendered_rooms():
        box = Letterbox.fit(picture.shape[:2], (manifest.height, manifest.width))
        prediction = session.infer(box.shrink(picture), focal_px * box.scale, keep)
        medians.append(np.median(prediction.depth[box.inside]))
    session.close()
    return float(np.exp(np.mean(np.log(medians))))


def _rendered_rooms() -> Iterator[tuple[np.ndarray, float]]:
    """Every fifth of the held-out pictures that ship with the model, with its focal length."""
    with zipfile.ZipFile(find_model().with_name("rendered_rooms.zip")) as archive:
        for line in archive.read("forgetting/frames.jsonl").decode().splitlines()[::5]:
            frame = json.loads(line)
            content = archive.read(f"forgetting/frames/{frame['id']}.color.jpg")
            bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), frame["fx"]


def test_a_size_that_cannot_be_is_one_line(tiny_model: Path):
    with pytest.raises(ParameterError, match="near are 96x72 and 104x72"):
        open_session(tiny_model, "cpu", 1, (100, 72))
