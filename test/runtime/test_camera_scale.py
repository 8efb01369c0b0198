"""A camera's depth gets its scale from the floor, wherever the picture lies in the input."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from floor_scenes import CAMERA, HEIGHT, WIDTH, FloorScene, look

from pag_ros.errors import ParameterError
from pag_ros.image.camera_info import Intrinsics
from pag_ros.image.letterbox import Letterbox
from pag_ros.manifest import LabelClass, Manifest
from pag_ros.runtime import Prediction
from pag_ros.runtime.camera_scale import SAMPLED_PIXELS, CameraScale
from pag_ros.runtime.scale_filter import ScaleSource

HEADS = ("depth", "normals", "segmentation")
PLAIN_BOX = Letterbox.fit((HEIGHT, WIDTH), (HEIGHT, WIDTH))


def manifest(names: tuple[str, ...] = ("wall", "floor", "object"), heads=HEADS) -> Manifest:
    return Manifest(
        name="made up",
        sha256="0" * 64,
        height=HEIGHT,
        width=WIDTH,
        focal_range=(100.0, 200.0),
        depth_range_m=(0.3, 10.0),
        classes=tuple(LabelClass(name, (0, 0, 0)) for name in names),
        blocks=(),
        dense_macs=0,
        heads=heads,
        license="none",
        training_data="none",
    )


def predicted(scene: FloorScene, wrong: float = 1.0) -> Prediction:
    """What a network says whose depth is wrong by a factor."""
    return Prediction(
        depth=scene.depth * np.float32(wrong),
        normals=scene.normals,
        labels=scene.labels,
        confidence=np.ones_like(scene.depth),
        boundary=None,
        computed=np.zeros_like(scene.labels),
        keep_used=(),
        stage_seconds=(),
    )


def run(
    scale: CameraScale,
    scene: FloorScene,
    wrong: float,
    time_s: float = 0.0,
    intrinsics: Intrinsics = CAMERA,
    known: bool = True,
) -> Prediction:
    mount = scene.mount if known else None
    rescale = scale.of_frame(intrinsics, mount, time_s)
    return rescale(predicted(scene, wrong), PLAIN_BOX)


def test_the_depth_alone_is_multiplied() -> None:
    scale, scene = CameraScale(manifest()), look()
    before = predicted(scene, 0.8)
    untouched = before.depth.copy()
    after = scale.of_frame(CAMERA, scene.mount, 0.0)(before, PLAIN_BOX)
    assert after.depth.dtype == np.float32
    np.testing.assert_allclose(after.depth, scene.depth, rtol=1e-3)
    np.testing.assert_array_equal(before.depth, untouched)
    assert replace(after, depth=before.depth) == before
    assert scale.report.source is ScaleSource.FLOOR
    assert scale.report.factor == pytest.approx(1.25, rel=1e-3)


def test_normals_of_the_scaled_depth_are_those_before() -> None:
    """A factor moves every point along its ray, so that surfaces keep their slopes."""
    scene = look()
    for factor in (1.0, 1.7):
        points = scene.rays * (scene.depth * np.float32(factor))[..., None]
        across, down = points[100, 41] - points[100, 40], points[101, 40] - points[100, 40]
        normal = np.cross(down, across)
        assert scene.normals[100, 40] @ normal / np.linalg.norm(normal) == pytest.approx(
            1.0, abs=1e-4
        )


@pytest.mark.parametrize(
    "camera", [(240, 320), (300, 320), (200, 320), (120, 160), (30, 40), (1080, 1920)]
)
def test_rays_are_those_of_the_camera_whatever_the_input_s_size(camera: tuple[int, int]) -> None:
    """The picture lies in the network's input with bars around it, which are never looked at."""
    height, width = camera
    box = Letterbox.fit(camera, (120, 200))
    focal = 0.8 * width
    intrinsics = Intrinsics(focal, 1.05 * focal, 0.45 * width, 0.55 * height)
    mount = look(1.2, 35.0, 20.0).mount
    assert mount.up is not None
    v, u = np.mgrid[0:height, 0:width]
    x, y = (u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy
    descent = -(x * mount.up[0] + y * mount.up[1] + mount.up[2])
    inverse_m = np.clip(descent / 1.2, 1e-3, None).astype(np.float32)
    method = cv2.INTER_AREA if box.scale < 1.0 else cv2.INTER_LINEAR
    inner = cv2.resize(inverse_m, (box.width, box.height), interpolation=method)
    depth = np.full((120, 200), 0.5, np.float32)
    depth[box.inside] = 1.0 / (inner * 1.3)
    prediction = Prediction(
        depth=depth,
        normals=np.broadcast_to(np.float32(mount.up), (120, 200, 3)),
        labels=np.ones((120, 200), np.uint8),
        confidence=np.ones_like(depth),
        boundary=None,
        computed=np.zeros((120, 200), np.uint8),
        keep_used=(),
        stage_seconds=(),
    )
    scale = CameraScale(manifest())
    scale.of_frame(intrinsics, mount, 0.0)(prediction, box)
    assert scale.report.factor == pytest.approx(1.3, rel=2e-3)
    assert scale.report.spread < 0.01


def test_where_the_mount_is_not_known_the_factor_is_held() -> None:
    scale, scene = CameraScale(manifest()), look()
    assert run(scale, scene, 0.8, known=False).depth[0, 0] == np.float32(0.8) * scene.depth[0, 0]
    assert scale.report.source is ScaleSource.NETWORK
    run(scale, scene, 0.8, 1.0)
    after = run(scale, scene, 0.8, 3.0, known=False)
    np.testing.assert_allclose(after.depth, scene.depth, rtol=1e-3)
    assert (scale.report.source, scale.report.age_s) == (ScaleSource.HELD, 2.0)


def test_the_factor_is_smoothed_over_the_pictures() -> None:
    scale, scene = CameraScale(manifest()), look()
    run(scale, scene, 1.0, 0.0)
    run(scale, scene, 0.5, 0.1)
    assert 1.02 < scale.report.factor < 1.2


def test_another_calibration_begins_anew() -> None:
    scale, scene = CameraScale(manifest()), look()
    run(scale, scene, 1.0, 0.0)
    run(scale, scene, 0.5, 0.1, replace(CAMERA, cx=CAMERA.cx + 1e-3))
    assert scale.report.factor == pytest.approx(2.0, rel=1e-2)


def test_half_the_input_size_keeps_what_is_known() -> None:
    scale, scene = CameraScale(manifest()), look()
    run(scale, scene, 0.5, 0.0)
    half = Letterbox.fit((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2))
    whole = predicted(scene, 1.0)
    small = replace(
        whole,
        depth=whole.depth[::2, ::2],
        normals=whole.normals[::2, ::2],
        labels=whole.labels[::2, ::2],
    )
    assert scale.of_frame(CAMERA, scene.mount, 0.1)(small, half).depth.shape == (60, 80)
    assert scale.report.source is ScaleSource.FLOOR
    assert 1.8 < scale.report.factor < 1.98, "the sighting at half size says 1, a tenth of a second"


def test_a_model_without_a_class_of_ground_goes_by_the_normals() -> None:
    scene = look()
    scale = CameraScale(manifest(("left", "right", "thing")))
    run(scale, scene, 0.8)
    assert scale.report.factor == pytest.approx(1.25, rel=1e-2)
    without = CameraScale(manifest(heads=("depth", "normals")))
    no_labels = replace(scene, labels=np.full_like(scene.labels, 255))
    run(without, no_labels, 0.8)
    assert without.report.factor == pytest.approx(1.25, rel=1e-2)
    with_floor = CameraScale(manifest())
    run(with_floor, no_labels, 0.8)
    assert with_floor.report.source is ScaleSource.NETWORK


@pytest.mark.parametrize("missing", ["depth", "normals"])
def test_a_model_must_tell_depth_and_normals(missing: str) -> None:
    heads = tuple(head for head in HEADS if head != missing)
    with pytest.raises(ParameterError, match=f"made up, which has no {missing}"):
        CameraScale(manifest(heads=heads))


def test_a_large_picture_is_sampled() -> None:
    scale = CameraScale(manifest())
    box = Letterbox.fit((960, 1280), (480, 640))
    shape = (480, 640)
    prediction = Prediction(
        depth=np.ones(shape, np.float32),
        normals=np.zeros((*shape, 3), np.float32),
        labels=np.zeros(shape, np.uint8),
        confidence=np.ones(shape, np.float32),
        boundary=None,
        computed=np.zeros(shape, np.uint8),
        keep_used=(),
        stage_seconds=(),
    )
    sampled = scale._sample(prediction, box, Intrinsics(1000.0, 1000.0, 640.0, 480.0))
    assert len(sampled.depth) == pytest.approx(SAMPLED_PIXELS, rel=0.2)
    assert len(sampled.rays) == len(sampled.depth) == len(sampled.normals)
