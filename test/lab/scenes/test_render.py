"""Depth, normals and classes are exact where the right answer can be calculated."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.lab.scenes.camera import Pose, SceneCamera, look_at, pixel_rays
from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.film import Film, develop
from pag_ros.lab.scenes.mesh import Material, box, cylinder, joined, lathe, quad
from pag_ros.lab.scenes.render import View, _all_pixels, _edges, render, render_geometry
from pag_ros.lab.scenes.scene import Light, Lighting, build_atlas, flatten
from pag_ros.lab.scenes.shell import Part
from pag_ros.lab.scenes.tracing import Tracer
from pag_ros.lab.scenes.writer import encode_depth, encode_normals

CAMERA = SceneCamera(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
GREY = Material((0.5, 0.5, 0.5))
DAYLIGHT = Lighting((), (1.0, 1.0, 1.0))


def empty_room() -> Tracer:
    """4 x 3 m, 2.5 m high: x 0..4, y 0..3."""
    parts = [
        Part(quad((0, 0, 0), (4, 0, 0), (0, 3, 0), GREY), "floor"),
        Part(quad((0, 0, 2.5), (0, 3, 0), (4, 0, 0), GREY), "ceiling"),
        Part(quad((0, 0, 0), (0, 0, 2.5), (4, 0, 0), GREY), "wall"),
        Part(quad((0, 3, 0), (4, 0, 0), (0, 0, 2.5), GREY), "wall"),
        Part(quad((0, 0, 0), (0, 3, 0), (0, 0, 2.5), GREY), "wall"),
        Part(quad((4, 0, 0), (0, 3, 0), (0, 0, 2.5), GREY), "wall"),
    ]
    lamp = Light((2.0, 1.5, 2.3), (0.1, 0.1, 0.0), (3.0, 3.0, 3.0))
    return Tracer(flatten(parts, Lighting((lamp,), (0.3, 0.3, 0.3))))


def camera_points(depth: np.ndarray) -> np.ndarray:
    """[H,W,3] points in the optical frame, by the pinhole formula of ROS's camera model."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    return np.stack([x, y, np.ones_like(x)], -1) * depth[..., None]


def test_a_wall_faced_squarely_has_one_depth_and_looks_back() -> None:
    pose = look_at(np.array([1.0, 1.5, 1.2]), np.array([4.0, 1.5, 1.2]))
    depth, normals, labels = render_geometry(empty_room(), CAMERA, pose)
    wall = np.isclose(depth, 3.0, atol=1e-5)
    assert wall[20:28, 20:44].all()
    np.testing.assert_allclose(normals[wall], np.tile([0, 0, -1], (wall.sum(), 1)), atol=1e-6)
    assert (labels[wall] == class_id("wall")).all()


def test_the_picture_is_upright() -> None:
    pose = look_at(np.array([0.5, 1.5, 1.2]), np.array([4.0, 1.5, 1.2]))
    _, normals, labels = render_geometry(empty_room(), CAMERA, pose)
    assert labels[-1, 32] == class_id("floor")
    assert labels[0, 32] == class_id("ceiling")
    np.testing.assert_allclose(normals[-1, 32], [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(normals[0, 32], [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize("roll", [0.0, 0.2])
def test_unprojected_depth_lies_on_the_planes_of_the_room(roll: float) -> None:
    pose = look_at(np.array([1.1, 0.7, 1.6]), np.array([3.2, 2.4, 0.3]), roll)
    depth, normals, labels = render_geometry(empty_room(), CAMERA, pose)
    points = camera_points(depth) @ pose.rotation.T + pose.position
    floor = labels == class_id("floor")
    assert floor.sum() > 500
    np.testing.assert_allclose(points[floor][:, 2], 0, atol=1e-5)
    up = normals[floor] @ pose.rotation.T
    np.testing.assert_allclose(up, np.tile([0, 0, 1], (floor.sum(), 1)), atol=1e-5)


def test_rotation_is_proper_and_looks_forward() -> None:
    pose = look_at(np.array([0.0, 0, 1]), np.array([3.0, 2, 0]), 0.3)
    np.testing.assert_allclose(pose.rotation.T @ pose.rotation, np.eye(3), atol=1e-6)
    assert np.linalg.det(pose.rotation) == pytest.approx(1, abs=1e-5)
    forward = np.array([3.0, 2, -1]) / np.sqrt(14)
    np.testing.assert_allclose(pose.rotation[:, 2], forward, atol=1e-6)


def test_normals_are_unit_and_never_turn_away() -> None:
    ball = lathe(
        [(0.4 * np.sin(a), 0.4 - 0.4 * np.cos(a)) for a in np.linspace(0, np.pi, 12)], GREY
    )
    things = [ball.moved((2, 1.5, 0)), cylinder(0.2, 1.0, GREY).moved((3, 1, 0))]
    tracer = Tracer(flatten([Part(thing, "object") for thing in things], DAYLIGHT))
    pose = look_at(np.array([0.5, 1.2, 0.8]), np.array([2.3, 1.4, 0.4]))
    depth, normals, labels = render_geometry(tracer, CAMERA, pose)
    seen = np.isfinite(depth)
    assert seen.sum() > 200
    assert (labels[seen] == class_id("object")).all()
    np.testing.assert_allclose(np.linalg.norm(normals[seen], axis=-1), 1, atol=1e-5)
    assert ((normals * camera_points(depth)).sum(-1)[seen] <= 1e-6).all()


def test_smooth_normals_of_a_ball_point_from_its_centre() -> None:
    radius, centre = 0.5, np.array([2.0, 0.0, 0.5])
    arc = np.linspace(0, np.pi, 33)
    ball = lathe([(radius * np.sin(a), radius - radius * np.cos(a)) for a in arc], GREY, 48)
    tracer = Tracer(flatten([Part(ball.moved((2, 0, 0)), "object")], DAYLIGHT))
    pose = look_at(np.array([0.5, 0.0, 0.7]), centre)
    depth, normals, _ = render_geometry(tracer, CAMERA, pose)
    points = camera_points(depth) @ pose.rotation.T + pose.position
    outward = (points - centre) / np.linalg.norm(points - centre, axis=-1, keepdims=True)
    seen = np.isfinite(depth) & ((normals * camera_points(depth)).sum(-1) < -0.3 * depth)
    cosine = ((normals @ pose.rotation.T) * outward).sum(-1)[seen]
    assert np.degrees(np.arccos(np.clip(cosine.min(), -1, 1))) < 1.5


def test_what_is_not_hit_is_unknown() -> None:
    tracer = Tracer(flatten([Part(box((0.1, 0.1, 0.1), GREY), "object")], DAYLIGHT))
    pose = look_at(np.array([-1.0, 0, 0.05]), np.array([0.0, 0, 0.05]))
    depth, normals, labels = render_geometry(tracer, CAMERA, pose)
    assert np.isnan(depth[0, 0])
    assert np.isnan(normals[0, 0]).all()
    assert labels[0, 0] == class_id("window")
    assert encode_depth(depth)[0, 0] == 0
    assert not encode_normals(normals)[0, 0].any()


def test_encodings_keep_millimetres_and_directions() -> None:
    depth = np.array([[np.nan, 0.3004, 9.9996, 70.0]])
    np.testing.assert_array_equal(encode_depth(depth), [[0, 300, 10000, 0]])
    bytes_ = encode_normals(np.array([[[1.0, 0.0, -1.0]]]))
    np.testing.assert_array_equal(bytes_, [[[255, 128, 0]]])


def test_pixel_rays_use_integer_pixel_centres() -> None:
    pose = Pose(np.zeros(3, np.float32), np.eye(3, dtype=np.float32))
    camera = SceneCamera(10.0, 20.0, 3.0, 2.0, 8, 6)
    rays = pixel_rays(camera, pose, np.array([3.0, 4.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(rays, [[0, 0, 1], [0.1, 0.1, 1]], atol=1e-6)


def test_colour_is_lit_and_neither_black_nor_white() -> None:
    pose = look_at(np.array([0.4, 0.4, 1.6]), np.array([4.0, 3.0, 0.5]))
    view = render(empty_room(), CAMERA, pose, Film(), np.random.default_rng(0))
    assert isinstance(view, View)
    assert view.color.shape == (48, 64, 3)
    assert 60 < view.color.mean() < 200
    assert view.color.std() > 5


def test_exposure_follows_the_light() -> None:
    scene = np.random.default_rng(0).uniform(0.5, 1.5, (24, 32, 3)).astype(np.float32)
    film = Film(shot=0.0)
    dim, bright = (develop(scene * k, film, np.random.default_rng(1)) for k in (0.5, 5.0))
    assert abs(dim.mean() - bright.mean()) < 5


def test_mip_levels_average_the_texture() -> None:
    chequer = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    atlas = build_atlas([chequer])
    last = atlas.offset[0, -1]
    assert (atlas.height[0, -1], atlas.width[0, -1]) == (1, 1)
    assert abs(int(atlas.texels[last] & 255) - 128) <= 1


@pytest.mark.parametrize("level", [0.05, 0.5])
def test_noise_grows_with_the_root_of_the_light(level: float) -> None:
    plain = np.full((120, 160, 3), level, np.float32)
    film = Film(vignette=0.0, blur=0.0, shot=0.02, gain=level / 0.22)  # what the exposure undoes
    picture = develop(plain, film, np.random.default_rng(0)) / 255.0
    assert (picture**2.2).std() == pytest.approx(0.02 * np.sqrt(level), rel=0.1)


def test_edges_are_drawn_from_several_places() -> None:
    """A slanting edge between dark and bright has pixels between them."""
    bright, dark = Material((0.9, 0.9, 0.9)), Material((0.02, 0.02, 0.02))
    parts = [
        Part(quad((0, 0, 0), (4, 0, 0), (0, 3, 0), bright), "floor"),
        Part(box((0.4, 1.0, 0.02), dark).moved((2.0, 1.5, 0.0), 0.35), "object"),
    ]
    tracer = Tracer(flatten(parts, DAYLIGHT))
    pose = look_at(np.array([1.9, 1.5, 1.5]), np.array([2.0, 1.5, 0.0]))
    film = Film(shot=0.0, blur=0.0, vignette=0.0)
    between = []
    for samples in (0, 2):
        color = render(tracer, CAMERA, pose, film, np.random.default_rng(0), samples).color
        middle = (color.max() + color.min()) / 2.0
        between.append(int((np.abs(color[..., 0] - middle) < 0.25 * middle).sum()))
    assert between[1] > between[0] + 10


def test_a_step_between_parallel_faces_of_one_part_is_an_edge() -> None:
    shelf = joined([box((1, 1, 0.02), GREY), box((0.5, 0.5, 0.6), GREY)])
    tracer = Tracer(flatten([Part(shelf, "cabinet")], DAYLIGHT))
    pose = look_at(np.array([0.01, 0.0, 1.5]), np.array([0.0, 0.0, 0.0]))
    surface = _all_pixels(tracer, CAMERA, pose)
    shape = (CAMERA.height, CAMERA.width)
    edges = _edges(tracer.scene, surface, shape)
    step = np.abs(np.diff(surface.distance.reshape(shape), axis=1)) > 0.3
    assert step.sum() > 20
    assert edges[:, 1:][step].all()
