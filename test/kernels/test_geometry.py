"""Depth and normals of large maps are those of the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pag_ros import kernels
from pag_ros.kernels import Workspace, reference


def small_maps(height: int, width: int) -> Any:
    rng = np.random.default_rng(height * 100 + width)
    return rng.normal(0.5, 1.5, (4, height, width)).astype(np.float32)


SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (5, 7)),
    ((6, 8), (12, 16)),
    ((6, 9), (24, 36)),
    ((7, 5), (20, 33)),
    ((9, 40), (18, 80)),
    ((30, 20), (15, 11)),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_it_gives_what_the_definition_gives(instruction_set, workspace, small, large, threads):
    maps = small_maps(*small)
    depth, normals = kernels.enlarge_geometry(maps, *large, 1e-12, workspace=workspace(threads))
    expected_depth, expected_normals = reference.enlarge_geometry(maps, *large, 1e-12)
    np.testing.assert_allclose(depth, expected_depth, rtol=5e-6)
    np.testing.assert_allclose(normals, expected_normals, atol=1e-6)


def test_log_depths_far_from_zero_keep_their_exponentials(instruction_set, workspace):
    maps = np.zeros((4, 1, 6), np.float32)
    maps[0, 0] = [np.nan, -120.0, -80.0, -0.0, 3.0, 80.0]
    maps[1] = 1.0
    depth, _ = kernels.enlarge_geometry(maps, 1, 6, 1e-12, workspace=workspace(1))
    assert np.isnan(depth[0, 0])
    np.testing.assert_allclose(depth[0, 1:], np.exp([-np.inf, -80, 0, 3, 80]), rtol=1e-5)


def test_short_normals_are_divided_by_the_least_length(instruction_set, workspace):
    maps = np.zeros((4, 1, 4), np.float32)
    maps[1, 0] = [0.0, 1e-3, 1e-13, 4.0]
    maps[3, 0] = [0.0, 0.0, 0.0, -3.0]
    work = workspace(1)
    _, normals = kernels.enlarge_geometry(maps, 1, 4, 1e-12, workspace=work)
    np.testing.assert_allclose(
        normals[0], [[0, 0, 0], [1, 0, 0], [0.1, 0, 0], [0.8, 0, -0.6]], atol=1e-5
    )
    _, normals = kernels.enlarge_geometry(maps, 1, 4, 0.01, workspace=work)
    np.testing.assert_allclose(normals[0, 1], [0.1, 0, 0], atol=1e-5)


def test_it_writes_into_the_arrays_that_it_is_given(workspace):
    depth, normals = np.empty((4, 6), np.float32), np.empty((4, 6, 3), np.float32)
    options = {"depth": depth, "normals": normals, "workspace": workspace(1)}
    result = kernels.enlarge_geometry(small_maps(2, 3), 4, 6, 1e-12, **options)
    assert result[0] is depth
    assert result[1] is normals


SHARED = np.zeros((4, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("maps must be contiguous", {"maps": np.zeros((3, 2, 3), np.float32)}),
        ("maps must be contiguous", {"maps": np.zeros((4, 2, 3))}),
        ("maps must be maps with some pixels", {"maps": np.zeros((4, 0, 3), np.float32)}),
        ("height must be 1 to 32768", {"height": 0}),
        ("width must be 1 to 32768", {"width": 1 << 16}),
        ("least must be a positive number", {"least": 0.0}),
        ("least must be a positive number", {"least": -1.0}),
        ("least must be a positive number", {"least": np.nan}),
        ("depth must be contiguous", {"depth": np.zeros((4, 5), np.float32)}),
        ("normals must be contiguous", {"normals": np.zeros((4, 6, 2), np.float32)}),
        ("depth must not share", {"maps": SHARED, "depth": SHARED.reshape(4, 6)}),
    ],
)
def test_a_wrong_argument_is_named(message, change):
    arguments: dict[str, Any] = {"maps": SHARED.copy(), "height": 4, "width": 6, "least": 1e-12}
    with pytest.raises(ValueError, match=rf"^{message}"):
        kernels.enlarge_geometry(**{**arguments, **change}, workspace=Workspace(1))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_normals_alone_are_those_of_the_definition(
    instruction_set, workspace, small, large, threads
):
    normals = np.ascontiguousarray(np.moveaxis(small_maps(*small)[1:], 0, -1))
    enlarged = kernels.enlarge_normals(normals, *large, workspace=workspace(threads))
    expected = reference.enlarge_normals(normals, *large, 1e-12)
    np.testing.assert_allclose(enlarged, expected, atol=1e-6)


def test_unknown_normals_spread_and_are_never_averaged(instruction_set):
    normals = np.full((6, 40, 3), 0.5, np.float32)
    normals[2, 20] = np.nan
    enlarged = kernels.enlarge_normals(normals, 12, 80)
    unknown = np.isnan(enlarged).any(axis=2)
    assert unknown[4:6, 40:42].all()
    assert unknown.sum() <= 16
    np.testing.assert_allclose(enlarged[~unknown], 3**-0.5, rtol=1e-6)


def test_short_normals_alone_are_divided_by_the_least_length(instruction_set):
    normals = np.array([[[0, 0, 0], [1e-3, 0, 0], [0, 3, -4]]], np.float32)
    enlarged = kernels.enlarge_normals(normals, 1, 3, least=0.01)
    np.testing.assert_allclose(enlarged[0], [[0, 0, 0], [0.1, 0, 0], [0, 0.6, -0.8]], atol=1e-6)


def test_a_workspace_serves_maps_of_different_kinds_and_sizes(workspace):
    work = workspace(2)
    for height, width in ((20, 60), (3, 4), (40, 90)):
        maps = small_maps(height, width)
        normals = np.ascontiguousarray(np.moveaxis(maps[1:], 0, -1))
        alone = kernels.enlarge_normals(normals, 2 * height, 2 * width, workspace=work)
        both = kernels.enlarge_geometry(maps, 2 * height, 2 * width, 1e-12, workspace=work)
        np.testing.assert_array_equal(alone, both[1])


def test_normals_alone_go_into_the_array_that_is_given():
    out = np.empty((4, 6, 3), np.float32)
    assert kernels.enlarge_normals(np.ones((2, 3, 3), np.float32), 4, 6, out=out) is out


NORMALS = np.zeros((4, 6, 3), np.float32)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("normals must be contiguous", {"normals": np.zeros((2, 3, 4), np.float32)}),
        ("normals must be contiguous", {"normals": np.zeros((4, 6, 3), np.float32)[:, ::2]}),
        ("normals must be maps with some pixels", {"normals": np.zeros((0, 3, 3), np.float32)}),
        ("height must be 1 to 32768", {"height": 0}),
        ("width must be 1 to 32768", {"width": 1 << 16}),
        ("least must be a positive number", {"least": 0.0}),
        ("out must be contiguous", {"out": np.zeros((4, 6), np.float32)}),
        ("out must not share", {"normals": NORMALS, "out": NORMALS}),
    ],
)
def test_a_wrong_argument_of_normals_alone_is_named(message, change):
    arguments: dict[str, Any] = {"normals": NORMALS.copy(), "height": 4, "width": 6}
    with pytest.raises(ValueError, match=rf"^{message}"):
        kernels.enlarge_normals(**{**arguments, **change})
