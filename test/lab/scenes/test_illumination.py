"""Light at every second pixel, carried on, is the light of every pixel; sun is exact at its rim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pag_ros.lab.scenes import shading
from pag_ros.lab.scenes.camera import SceneCamera, look_at
from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.illumination import (
    Illumination,
    Places,
    SurfaceGuide,
    _interpolated,
    _smoothed,
    _stratified,
    _sunshine,
    illuminate,
)
from pag_ros.lab.scenes.mesh import Material, box, quad
from pag_ros.lab.scenes.render import _all_pixels
from pag_ros.lab.scenes.scene import Light, Lighting, Sun, build_atlas, flatten
from pag_ros.lab.scenes.shading import _texels, reflect
from pag_ros.lab.scenes.shell import Part
from pag_ros.lab.scenes.tracing import Surface, Tracer

GREY = Material((0.5, 0.5, 0.5))
CAMERA = SceneCamera(60.0, 60.0, 31.0, 23.0, 63, 47)  # odd: the last row and column are whole ones
SHAPE = (47, 63)
POSE = look_at(np.array([0.4, 0.5, 1.7]), np.array([2.5, 1.8, 0.2]))


def room(lighting: Lighting, floor: Material = GREY) -> Tracer:
    """4 x 3 x 2.5 m with a block on the floor and a pane of 1 x 1 m in the wall at x = 4."""
    glass = Material((1, 1, 1), emission=2.0)
    parts = [
        Part(quad((0, 0, 0), (4, 0, 0), (0, 3, 0), floor), "floor"),
        Part(quad((0, 0, 2.5), (0, 3, 0), (4, 0, 0), GREY), "ceiling"),
        Part(quad((0, 0, 0), (0, 0, 2.5), (4, 0, 0), GREY), "wall"),
        Part(quad((0, 3, 0), (4, 0, 0), (0, 0, 2.5), GREY), "wall"),
        Part(quad((0, 0, 0), (0, 3, 0), (0, 0, 2.5), GREY), "wall"),
        Part(quad((4, 0, 0), (0, 3, 0), (0, 0, 2.5), GREY), "wall"),
        Part(quad((3.99, 1, 1), (0, 1, 0), (0, 0, 1), glass), "window"),
        Part(box((0.5, 0.5, 0.5), GREY).moved((2.2, 1.6, 0)), "object"),
    ]
    return Tracer(flatten(parts, lighting))


def all_places(surface: Surface, width: int = CAMERA.width) -> Places:
    return Places.of(surface, np.arange(surface.distance.size), width)


def test_light_of_a_bulb_follows_the_inverse_square_and_the_cosine() -> None:
    bulb = Light((3.4, 2.4, 1.2), (0.0, 0.0, 0.0), (3.0, 2.0, 1.0))
    tracer = room(Lighting((bulb,), (0.0, 0.0, 0.0)))
    # fine enough for light to be even over the few pixels that are averaged
    camera = SceneCamera(240.0, 240.0, 125.5, 93.5, 252, 188)
    surface = _all_pixels(tracer, camera, POSE)
    found = illuminate(tracer, surface, np.random.default_rng(0), (188, 252)).light
    towards = np.array(bulb.position) - surface.points
    square = (towards**2).sum(1)
    cosine = (towards * surface.flat).sum(1) / np.sqrt(square)
    expected = np.array(bulb.power)[:, None] * np.maximum(cosine, 0) / square
    lit = ~tracer.blocked(all_places(surface, camera.width).points, towards, 0.98) & (square > 0.2)
    error = np.abs(found[0] - expected[0])[lit] / expected[0][lit].clip(0.01)
    assert np.median(error) < 0.01
    assert np.quantile(error, 0.9) < 0.05
    shadow = ~lit & (square > 0.2) & (cosine > 0.1)
    assert shadow.sum() > 100
    assert np.median(found[0][shadow]) < 0.3 * np.median(expected[0][shadow])
    np.testing.assert_allclose(found[1], found[0] * 2 / 3, atol=1e-5)


def test_the_patch_of_sun_is_that_of_rays_from_every_pixel() -> None:
    towards = np.array([1.0, 0.0, 0.7]) / np.linalg.norm([1.0, 0.0, 0.7])
    dark = Lighting((), (0.0, 0.0, 0.0))
    tracer = room(replace(dark, sun=Sun(tuple(towards), (2.0, 1.0, 0.5))))
    surface = _all_pixels(tracer, CAMERA, POSE)
    lit = _sunshine(tracer, all_places(surface))
    assert 30 < lit.sum() < lit.size / 2
    found = illuminate(tracer, surface, np.random.default_rng(0), SHAPE).light
    expected = 2.0 * lit * np.maximum(surface.smooth @ towards, 0)
    assert (np.abs(found[0] - expected) < 1e-4).mean() > 0.995
    np.testing.assert_allclose(found[2], found[0] / 4, atol=1e-6)


def test_light_from_all_around_is_less_in_a_corner() -> None:
    tracer = room(Lighting((), (1.0, 1.0, 1.0)))
    surface = _all_pixels(tracer, CAMERA, POSE)
    light = illuminate(tracer, surface, np.random.default_rng(0), SHAPE).light[0]
    assert np.isfinite(light).all()
    x, y, z = surface.points.T
    floor = z < 0.01
    block = (np.abs(x - 2.2) < 0.35) & (np.abs(y - 1.6) < 0.35) & floor
    free = (np.abs(x - 1.2) < 0.3) & (np.abs(y - 1.2) < 0.3) & floor
    assert block.sum() > 5
    assert light[block].mean() < 0.92 * light[free].mean()
    assert light[free].std() < 0.05 * light[free].mean()


def test_strata_are_filled_evenly_by_nine_neighbours() -> None:
    cell = np.add.outer(np.arange(3) * 3, np.arange(3)).ravel()
    for seed in range(5):
        u, v = _stratified(cell, np.random.default_rng(seed))
        cells = np.floor(u * 3) * 3 + np.floor(v * 3)
        assert sorted(cells) == list(range(9))
        assert u.dtype == np.float32


def guide_of(normal: np.ndarray, point: np.ndarray) -> SurfaceGuide:
    return SurfaceGuide(normal, point, np.full(point.shape[1:], 2.0, np.float32))


def flat_guide(shape: tuple[int, int]) -> SurfaceGuide:
    """A floor whose points are their own pixels, in centimetres."""
    row, column = np.indices(shape, np.float32)
    up = np.zeros((3, *shape), np.float32)
    up[2] = 1
    return guide_of(up, np.stack([column, row, np.zeros(shape)]).astype(np.float32) / 100)


@pytest.mark.parametrize("shape", [(6, 8), (7, 9)])
def test_a_ramp_is_carried_on_between_known_pixels(shape: tuple[int, int]) -> None:
    ramp = np.indices(shape, np.float32)[1][None]
    fine, alone = _interpolated(ramp[:, ::2, ::2], flat_guide(shape))
    assert not alone.any()
    width = shape[1] - 1 if shape[1] % 2 == 0 else shape[1]  # beyond the last known one it is flat
    np.testing.assert_allclose(fine[0, :, :width], ramp[0, :, :width])


def test_light_does_not_cross_a_step_or_a_bend() -> None:
    guide = flat_guide((6, 8))
    guide.point[2, :, 5:] = 0.5
    value = np.where(np.arange(0, 8, 2) < 5, 1.0, 9.0).astype(np.float32)
    fine, alone = _interpolated(np.broadcast_to(value, (1, 3, 4)).copy(), guide)
    assert not alone.any()
    np.testing.assert_array_equal(fine[0, 0], [1, 1, 1, 1, 1, 9, 9, 9])
    guide = flat_guide((6, 8))
    guide.normal[:, 3, 3] = [1, 0, 0]
    fine, alone = _interpolated(np.ones((1, 3, 4), np.float32), guide)
    assert alone.sum() == 1
    assert alone[3, 3]
    light = np.ones((1, 6, 8), np.float32)
    light[0, 3, 3] = 100.0
    smooth = _smoothed(light, guide)
    assert smooth[0, 3, 3] == 100
    assert np.delete(smooth.ravel(), 3 * 8 + 3).max() == 1


def test_smoothing_keeps_what_is_even_and_averages_grain() -> None:
    grain = np.random.default_rng(0).normal(size=(2, 30, 40)).astype(np.float32)
    smooth = _smoothed(1 + grain, flat_guide((30, 40)))
    assert abs(smooth.mean() - 1) < 0.05
    assert smooth.std() < 0.25 * grain.std()


def test_steel_mirrors_what_is_bright_and_paint_does_not() -> None:
    lighting = Lighting((), (0.2, 0.2, 0.2))
    brightness = {}
    for gloss in (0.0, shading.MIRROR_GLOSS - 0.01, 1.0):
        tracer = room(lighting, replace(GREY, gloss=gloss))
        surface = _all_pixels(tracer, CAMERA, POSE)
        flat = np.full((3, surface.distance.size), 0.2, np.float32)
        light = Illumination(flat, np.zeros(surface.distance.size, np.float32))
        color = reflect(tracer, surface, light, 1 / CAMERA.fx)
        floor = tracer.scene.label[surface.hits.face] == class_id("floor")
        np.testing.assert_allclose(color[:, ~floor & (surface.points[:, 0] < 3.9)], 0.1, atol=1e-6)
        brightness[gloss] = color[0, floor]
    np.testing.assert_allclose(brightness[0.0], 0.1, atol=1e-6)
    np.testing.assert_allclose(brightness[shading.MIRROR_GLOSS - 0.01], 0.1, atol=1e-6)
    # grey walls are mirrored by 30 %; the pane, at a slant, outshines them
    assert brightness[1.0].min() == pytest.approx(0.1 + 0.3 * 0.1, rel=0.05)
    assert brightness[1.0].max() > 0.5


def test_texels_are_interpolated_and_repeat() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    atlas = build_atlas([picture])
    # v goes up: the first row is at the top
    centres = np.array([[0.25, 0.75, 0.25, 0.75], [0.75, 0.75, 0.25, 0.25]], np.float32)
    expected = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]).T
    number = np.zeros(4, np.int32)
    np.testing.assert_allclose(_texels(atlas, number, centres), expected, atol=1e-6)
    np.testing.assert_allclose(_texels(atlas, number, centres + 3), expected, atol=1e-5)
    corner = _texels(atlas, number[:1], np.zeros((2, 1), np.float32))
    np.testing.assert_allclose(corner, [[0.25], [0.25], [0.25]], atol=1e-6)
