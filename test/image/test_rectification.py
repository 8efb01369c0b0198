"""Rectified pictures and truths are those of a pinhole with the same K."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pag_ros.errors import ImageError
from pag_ros.image.camera_info import Intrinsics
from pag_ros.image.rectification import Lens, Undistortion, bend_of, lens_of, lens_remark
from pag_ros.manifest import NO_LABEL

SHAPE = (60, 80)
CAMERA = Intrinsics(70.0, 72.0, 41.0, 28.0)
K = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
LENSES = [
    Lens("plumb_bob", (-0.25, 0.08, 0.002, -0.001, 0.0)),
    Lens("plumb_bob", (0.12, -0.05, 0.0, 0.001)),
    Lens("rational_polynomial", (0.3, -0.1, 0.001, 0.0, 0.02, 0.5, -0.05, 0.01)),
    Lens("equidistant", (0.05, -0.01, 0.002, 0.0)),
]


@dataclass
class Info:
    distortion_model: str = "plumb_bob"
    d: list[float] = field(default_factory=list)


def shown_at(lens, points):
    """[n,2] pixels where a lens shows points [n,3], by OpenCV's projection."""
    d = np.array(lens.coefficients)
    still = np.zeros(3)
    if lens.model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], still, still, K, d)[0].reshape(-1, 2)
    return cv2.projectPoints(points, still, still, K, d)[0].reshape(-1, 2)


def rays_of(pixels):
    """[n,3] through pixels [n,2] (x, y) of the pinhole's picture."""
    rays = (pixels - (CAMERA.cx, CAMERA.cy)) / (CAMERA.fx, CAMERA.fy)
    return np.column_stack([rays, np.ones(len(pixels))])


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_a_rectified_map_shows_each_point_where_the_pinhole_does(lens):
    # What the lens shows is a map whose value is where it was taken: nothing is interpolated.
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    undistortion = Undistortion(lens, CAMERA, SHAPE)
    x = undistortion.rectify_truth(columns, np.nan)
    y = undistortion.rectify_truth(rows, np.nan)
    known = np.argwhere(np.isfinite(x))
    assert len(known) > 0.6 * x.size
    expected = shown_at(lens, rays_of(known[:, ::-1]))
    found = np.column_stack([x[tuple(known.T)], y[tuple(known.T)]])
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_a_picture_is_rectified_as_the_truth_is_but_smoothly(lens):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    picture = np.stack([2 * columns, 2 * rows, columns + rows], 2).astype(np.uint8)
    undistortion = Undistortion(lens, CAMERA, SHAPE)
    rectified = undistortion.rectify_picture(picture)
    by_nearest = undistortion.rectify_truth(picture, 0)
    assert rectified.dtype == np.uint8
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(rectified[inner].astype(int) - by_nearest[inner]).max() <= 2


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_distorting_what_was_rectified_gives_it_back(lens):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    undistortion = Undistortion(lens, CAMERA, SHAPE)
    for values in (rows, columns):
        back = undistortion.distort_truth(undistortion.rectify_truth(values, np.nan), np.nan)
        assert np.isfinite(back).mean() > 0.6
        assert np.nanmax(np.abs(back - values)) <= 1.5


def test_unknown_stays_unknown_and_nothing_is_mixed():
    undistortion = Undistortion(LENSES[0], CAMERA, SHAPE)
    depth = np.where(np.mgrid[: SHAPE[0], : SHAPE[1]][1] < 40, 1.0, 5.0).astype(np.float32)
    depth[::7] = np.nan
    found = undistortion.rectify_truth(depth, np.nan)
    assert set(found[np.isfinite(found)].tolist()) == {1.0, 5.0}
    assert np.isnan(found).sum() > SHAPE[1] * 5
    labels = np.full(SHAPE, 3, np.uint8)
    wide = Undistortion(LENSES[1], CAMERA, SHAPE)
    assert set(wide.rectify_truth(labels, NO_LABEL).ravel().tolist()) == {3, NO_LABEL}
    normals = np.tile(np.float32([0, 0, -1]), (*SHAPE, 1))
    turned = wide.rectify_truth(normals, np.nan)
    assert turned.shape == (*SHAPE, 3)
    assert np.isnan(turned[0, 0]).all()
    assert turned[30, 40].tolist() == [0.0, 0.0, -1.0]


@pytest.mark.parametrize("model", ["plumb_bob", "equidistant", "", "anything"])
def test_without_coefficients_there_is_nothing_to_do(model):
    assert lens_of(Info(model, [])) is None
    assert lens_of(Info(model, [0.0] * 5)) is None


def test_a_lens_is_what_the_camera_info_says():
    assert lens_of(Info("plumb_bob", [0.1, 0, 0, 0, 0.2])) == Lens("plumb_bob", (0.1, 0, 0, 0, 0.2))


@pytest.mark.parametrize(
    ("model", "d", "text"),
    [
        ("omni\x1b[31m", [0.1] * 5, r"distortion model 'omni\\x1b\[31m'; known are plumb_bob"),
        ("", [0.1] * 5, "distortion model ''"),
        ("plumb_bob", [0.1] * 6, "6 coefficients of plumb_bob, expected 4 or 5 or 8"),
        ("equidistant", [0.1] * 5, "5 coefficients of equidistant, expected 4"),
        ("plumb_bob", [float("nan")] * 5, "no finite numbers"),
        ("plumb_bob", [float("inf"), 0, 0, 0], "no finite numbers"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(model, d, text):
    with pytest.raises(ImageError, match=text) as caught:
        lens_of(Info(model, d))
    assert len(str(caught.value).splitlines()) == 1


@given(st.lists(st.floats(-1e30, 1e30), min_size=5, max_size=5), st.sampled_from([4, 5]))
@settings(max_examples=30)
def test_any_coefficients_give_a_map_without_warnings(d, count):
    model = "equidistant" if count == 4 else "plumb_bob"
    undistortion = Undistortion(Lens(model, tuple(d[:count])), CAMERA, SHAPE)
    ones = np.ones(SHAPE, np.float32)
    for found in (
        undistortion.rectify_truth(ones, np.nan),
        undistortion.distort_truth(ones, np.nan),
    ):
        assert set(np.unique(found[np.isfinite(found)])) <= {1.0}
    assert undistortion.rectify_picture(np.ones((*SHAPE, 3), np.uint8)).shape == (*SHAPE, 3)


def test_pictures_that_opencv_cannot_remap_are_refused():
    with pytest.raises(ImageError, match="32766 a side"):
        Undistortion(LENSES[0], CAMERA, (2, 40_000))


@dataclass
class Region:
    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0


@dataclass
class Camera(Info):
    """A whole CameraInfo, of `CAMERA` unless told otherwise."""

    width: int = SHAPE[1]
    height: int = SHAPE[0]
    binning_x: int = 0
    binning_y: int = 0
    roi: Region = field(default_factory=Region)
    k: list[float] = field(default_factory=lambda: K.ravel().tolist())


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: lens.model)
def test_the_bend_is_how_far_the_border_is_from_the_pinholes(lens):
    straight = np.mgrid[-20:100:0.5, -20:100:0.5].reshape(2, -1).T
    shown = shown_at(lens, rays_of(straight))
    shifts = []
    for x in (0.0, 39.5, 79.0):
        for y in (0.0, 29.5, 59.0):
            nearest = np.linalg.norm(shown - (x, y), axis=1).argmin()
            shifts.append(np.linalg.norm(straight[nearest] - (x, y)))
    assert bend_of(lens, CAMERA, SHAPE) == pytest.approx(max(shifts) / 80, abs=0.02)


def test_a_lens_that_bends_much_is_told_of_and_one_that_bends_little_is_not():
    strong = Camera(d=[-0.35, 0.1, 0.0, 0.0, 0.0])
    assert "the lens (plumb_bob) bends straight lines by " in lens_remark(strong, "/cam/image_raw")
    assert lens_remark(strong, "/cam/image_rect_color") is None
    assert lens_remark(Camera(d=[-0.05, 0.01, 0.0, 0.0, 0.0]), "/cam/image_raw") is None
    assert lens_remark(Camera(), "/cam/image_raw") is None


@pytest.mark.parametrize(
    "change", [{"roi": Region(5, 5, 40, 8)}, {"binning_x": 2}, {"binning_x": 4, "binning_y": 4}]
)
def test_a_lens_is_the_same_whatever_of_the_sensor_is_shown(change):
    lens = [-0.35, 0.1, 0.0, 0.0, 0.0]
    assert lens_remark(Camera(d=lens, **change), "/image") == lens_remark(Camera(d=lens), "/image")
    assert lens_remark(Camera(d=[-0.05, 0.01, 0.0, 0.0], **change), "/image") is None


def test_of_a_lens_that_is_not_known_is_said_just_that():
    assert "known are plumb_bob" in lens_remark(Camera("kannala", [0.1]), "/image")
    assert "expected 4" in lens_remark(Camera("equidistant", [0.1]), "/image")
    uncalibrated = Camera(d=[-0.35, 0.1, 0.0, 0.0, 0.0], k=[0.0] * 9)
    assert lens_remark(uncalibrated, "/image") is None
    mad = Camera(d=[-0.35, 0.1, 0.0, 0.0, 0.0], k=[-1.0] * 9)
    assert lens_remark(mad, "/image") is None, "it is told of as no calibration"


@settings(max_examples=200)
@given(
    st.lists(st.floats(width=64), min_size=4, max_size=14),
    st.lists(st.floats(width=64), min_size=9, max_size=9),
    st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial", ""]),
)
def test_whatever_a_camera_says_of_itself_ends_in_a_remark_or_in_none(d, k, model):
    remark = lens_remark(Camera(model, d, k=k), "/image")
    assert remark is None or "\n" not in remark
