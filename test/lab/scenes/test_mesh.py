"""Meshes turn, shrink and lose faces without losing their shape."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.lab.scenes.mesh import (
    Material,
    Mesh,
    box,
    cross,
    dot,
    extent,
    lathe,
    quad,
    simplified,
    triangle_areas,
    turned,
)

GREY = Material()


def ball(rings: int, sides: int) -> Mesh:
    """Of half a metre radius."""
    arc = np.linspace(0, np.pi, rings)
    return lathe([(0.5 * np.sin(a), 0.5 - 0.5 * np.cos(a)) for a in arc], GREY, sides)


def test_products_agree_with_numpy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 4, 3))
    np.testing.assert_allclose(cross(a, b), np.cross(a, b))
    np.testing.assert_allclose(dot(a, b), (a * b).sum(-1))


def test_a_quarter_turn_takes_x_to_y() -> None:
    vectors = np.array([[[1, 0, 2], [0, 1, 3]]], np.float32)
    np.testing.assert_allclose(turned(vectors, np.pi / 2), [[[0, 1, 2], [-1, 0, 3]]], atol=1e-6)


def test_a_moved_mesh_is_turned_first() -> None:
    moved = box((2, 1, 1), GREY).moved((10, 20, 30), np.pi / 2)
    np.testing.assert_allclose(moved.bounds, [[9.5, 19, 30], [10.5, 21, 31]], atol=1e-5)
    np.testing.assert_allclose(moved.normals[0, 0], [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("fit", [False, True])
def test_a_box_has_its_size_and_looks_outwards(fit: bool) -> None:
    body = box((1.0, 2.0, 3.0), GREY, fit)
    np.testing.assert_allclose(body.bounds, [[-0.5, -1, 0], [0.5, 1, 3]])
    corners = body.vertices[body.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(1) - [0, 0, 1.5]
    assert ((normals * outward).sum(1) > 0).all()
    assert (dot(body.normals[:, 0], normals) > 0).all()
    metres = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    across = np.linalg.norm(body.uv[:, 1] - body.uv[:, 0], axis=1)
    # the first face of each side has one of its edges first, the other one its diagonal
    np.testing.assert_allclose(across[::2], 1.0 if fit else metres[::2])


def test_a_fine_mesh_is_simplified_and_keeps_its_shape() -> None:
    fine = ball(120, 120)
    coarse = simplified(fine, 16_000)
    assert len(coarse.faces) <= 16_000 < len(fine.faces)
    np.testing.assert_allclose(coarse.bounds, fine.bounds, atol=0.01)
    area = [triangle_areas(m.vertices, m.faces).sum() for m in (fine, coarse)]
    assert area[1] == pytest.approx(area[0], rel=0.03)
    middle = coarse.vertices[coarse.faces].mean(1) - [0, 0, 0.5]
    outward = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    assert np.quantile(dot(coarse.normals.mean(1), outward), 0.05) > 0.98


def test_a_coarse_mesh_stays_as_it_is() -> None:
    coarse = ball(12, 12)
    assert simplified(coarse, 6000) is coarse


def test_what_cannot_be_simplified_further_keeps_its_cells() -> None:
    flat = np.array([simplified(ball(120, 120), 10).bounds, ball(120, 120).bounds])
    np.testing.assert_allclose(flat[0], flat[1], atol=1.0 / 40)


def test_faces_on_one_another_become_one() -> None:
    one = quad((0, 0, 0), (1, 0, 0), (0, 1, 0), GREY)
    grid = ball(60, 60)
    faces = np.concatenate([grid.faces, grid.faces])
    double = Mesh(
        grid.vertices,
        faces,
        np.concatenate([grid.uv] * 2),
        np.concatenate([grid.normals] * 2),
        np.concatenate([grid.material] * 2),
        one.materials,
    )
    assert len(simplified(double, len(faces) - 1).faces) <= len(grid.faces)


def test_the_extent_of_points() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(extent(points), [points.min(0), points.max(0)])
