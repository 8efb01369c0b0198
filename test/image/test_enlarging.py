"""What the network says of its pixels comes back where they are, each kind in its own way."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.image.enlarging import Enlarger
from pag_ros.image.headroom import memory_around
from pag_ros.image.letterbox import Letterbox
from pag_ros.kernels import Workspace

NETWORK = (240, 320)
SIZES = [(480, 640), (240, 320), (120, 160), (720, 1280), (480, 480), (640, 480), (97, 131)]


@pytest.mark.parametrize("camera", SIZES)
def test_a_pixel_comes_back_to_where_it_was(camera):
    """A picture whose values are its own coordinates survives there and back."""
    height, width = camera
    box = Letterbox.fit(camera, NETWORK)
    rows, columns = np.mgrid[:height, :width]
    scale = 255.0 / max(camera)
    image = np.stack([rows * scale, columns * scale, 0 * rows], axis=2).round().astype(np.uint8)
    small = box.shrink(image).astype(np.float32)
    large = Enlarger(box).values(small)
    assert large.shape == (height, width, 3)
    inner = (slice(8, -8), slice(8, -8))
    error = np.abs(large[inner] - image[inner].astype(np.float32))
    # half a level of rounding twice, and what neighbours differ by within half a network pixel
    assert error.max() <= 1.5 + scale / box.scale


@pytest.mark.parametrize("camera", SIZES)
def test_labels_come_back_nearest_and_unmixed(camera):
    box = Letterbox.fit(camera, NETWORK)
    small = np.zeros(NETWORK, np.uint8)
    small[:, NETWORK[1] // 2 :] = 200
    large = Enlarger(box).labels(small)
    assert large.shape == camera
    assert set(np.unique(large)) == {0, 200}
    edge = int((large[camera[0] // 2] == 200).argmax())
    assert abs(edge - camera[1] / 2) <= 1.0 / box.scale + 1


def test_values_are_interpolated_between_the_pixels_of_the_network():
    ramp = np.tile(np.arange(NETWORK[1], dtype=np.float32), (NETWORK[0], 1))
    large = Enlarger(Letterbox.fit((480, 640), NETWORK)).values(ramp)
    np.testing.assert_allclose(large[100, 2:-2], (np.arange(2, 638) - 0.5) / 2, atol=1e-3)


def test_unknown_depth_is_never_averaged():
    box = Letterbox.fit((480, 640), NETWORK)
    depth = np.full(NETWORK, 2.0, np.float32)
    depth[100, 100] = np.nan
    large = Enlarger(box).values(depth)
    assert np.isnan(large[200:202, 200:202]).all()
    assert (large[~np.isnan(large)] == 2.0).all()
    assert np.isnan(large).sum() <= 16


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=40)
def test_normals_stay_unit_at_every_size(height, width):
    box = Letterbox.fit((height, width), (24, 32))
    normals = np.random.default_rng(1).normal(size=(24, 32, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    large = Enlarger(box).normals(normals)
    assert large.shape == (height, width, 3)
    np.testing.assert_allclose(np.linalg.norm(large, axis=2), 1.0, atol=1e-4)


def test_a_plane_keeps_its_normal():
    normals = np.tile(np.array([0.0, 0.6, -0.8], np.float32), (*NETWORK, 1))
    large = Enlarger(Letterbox.fit((480, 640), NETWORK)).normals(normals)
    np.testing.assert_allclose(large, np.broadcast_to([0.0, 0.6, -0.8], large.shape), atol=1e-6)


@pytest.mark.parametrize("camera", [(480, 640), (480, 480), (360, 640)])
def test_normals_come_from_inside_the_bars(camera):
    box = Letterbox.fit(camera, NETWORK)
    normals = np.full((*NETWORK, 3), [1.0, 0.0, 0.0], np.float32)
    normals[box.inside] = [0.0, 0.6, -0.8]
    large = Enlarger(box).normals(normals)
    np.testing.assert_allclose(large, np.broadcast_to([0.0, 0.6, -0.8], (*camera, 3)), atol=1e-6)


def test_normals_that_keep_their_size_are_those_of_the_network():
    box = Letterbox.fit((360, 640), NETWORK).with_output(0.0)
    normals = np.random.default_rng(0).normal(size=(*NETWORK, 3)).astype(np.float32)
    kept = Enlarger(box).normals(normals)
    assert np.shares_memory(kept, normals), "nothing to compute"
    np.testing.assert_array_equal(kept, normals[box.inside])


def test_bars_never_come_back() -> None:
    marked = np.zeros(NETWORK, np.float32)
    marked[:, :40] = marked[:, 280:] = 1e6
    assert Enlarger(Letterbox.fit((480, 480), NETWORK)).values(marked).max() == 0.0


def test_maps_that_keep_their_size_are_those_of_the_network() -> None:
    enlarger = Enlarger(Letterbox.fit((360, 640), NETWORK).with_output(0.0))
    depth = np.random.default_rng(0).random(NETWORK, np.float32)
    for kept in (enlarger.values(depth), enlarger.labels(depth.astype(np.uint8))):
        assert kept.shape == (180, 320)
    assert np.shares_memory(enlarger.values(depth), depth), "nothing to compute"
    np.testing.assert_array_equal(enlarger.values(depth), depth[30:210])


def test_what_is_enlarged_has_room_for_a_message_around_it() -> None:
    enlarger = Enlarger(Letterbox.fit((480, 640), NETWORK))
    depth, labels = np.ones(NETWORK, np.float32), np.ones(NETWORK, np.uint8)
    for enlarged in (enlarger.values(depth), enlarger.labels(labels)):
        assert enlarged.shape == (480, 640)
        assert memory_around(enlarged) is not None
    assert memory_around(enlarger.normals(np.ones((*NETWORK, 3), np.float32))) is not None


def test_threads_change_nothing() -> None:
    box = Letterbox.fit((480, 640), NETWORK)
    normals = np.random.default_rng(0).normal(size=(*NETWORK, 3)).astype(np.float32)
    with closing(Workspace(threads=3)) as workspace:
        together = Enlarger(box, workspace).normals(normals)
    np.testing.assert_array_equal(together, Enlarger(box).normals(normals))
