"""Scale and shift follow from a floor before a camera whose height and pitch are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import DatasetError, ParameterError  # noqa: E402
from pag_ros.evaluation.metrics import DepthProtocol  # noqa: E402
from pag_ros.lab.datasets import Sample  # noqa: E402
from pag_ros.lab.transformers.floor_fit import (  # noqa: E402
    FloorView,
    fit_floor,
    fit_floor_factor,
    open_floors,
    read_views,
)
from pag_ros.runtime.floor_scale import Mount  # noqa: E402

SCALE, SHIFT = 0.1, 0.15
"""1/m."""
MOUNT = Mount.pitched(1.2, 15.0)
WIDTH, HEIGHT, FOCAL_PX = 80, 60, 70.0


def inverse_depth(wall_m: float, box_m: float) -> np.ndarray:
    """[h,w] 1/m of a floor that ends at a wall; before it stands a box .5 m high."""
    x = (np.arange(WIDTH) - (WIDTH - 1) / 2) / FOCAL_PX
    y = (np.arange(HEIGHT) - (HEIGHT - 1) / 2)[:, None] / FOCAL_PX
    descent = -np.stack([*np.broadcast_arrays(x, y, 1.0)], 2) @ np.array(MOUNT.up)
    floor, wall = np.maximum(descent, 0.0) / MOUNT.height_m, 1.0 / wall_m
    hidden = (np.abs(x) < 0.2) & (floor > 0.58 / box_m) & (floor < 1.0 / box_m)
    return np.maximum(np.where(hidden, 1.0 / box_m, floor), wall)


def views(noise: float = 0.0) -> list[FloorView]:
    generator = np.random.default_rng(0)
    found = []
    for number in range(20):
        inverse = inverse_depth(4.0 + 0.2 * number, 2.0 + 0.05 * number)
        inverse = inverse * np.exp(noise * generator.normal(size=inverse.shape))
        disparity = np.maximum(inverse - SHIFT, 0.0) / SCALE
        found.append(FloorView(disparity.astype(np.float32), FOCAL_PX, 0.875))
    return found


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.03), (0.004, 0.1)])
def test_scale_and_shift_are_found_again(noise: float, tolerance: float) -> None:
    found = fit_floor(views(noise), MOUNT, "hall")
    for inverse in (0.3, 0.6):  # 1/m
        disparity = (inverse - SHIFT) / SCALE
        depth_m = float(found.best.metres(torch.tensor([disparity])))
        assert depth_m == pytest.approx(1.0 / inverse, rel=tolerance)
    assert found.wander < 0.05
    assert found.delta1 is None
    assert found.focal_widths == (0.875, 0.875)
    assert "fitted to the floor in 20 of 20 pictures of hall, each of which" in found.summary()
    assert len(list(found.lines())) == 1


def test_twice_the_height_is_twice_the_depth() -> None:
    low, high = (fit_floor(views(), replace(MOUNT, height_m=h), "hall").best for h in (1.2, 2.4))
    assert high.scale == pytest.approx(low.scale / 2.0)
    assert high.shift == pytest.approx(low.shift / 2.0)
    assert high.farthest_m == pytest.approx(2.0 * low.farthest_m)


def test_the_trusted_range_ends_at_the_farthest_wall() -> None:
    given = views()
    for view in given:
        view.disparity[0] = np.maximum(1.0 / 6.5 - SHIFT, 0.0) / SCALE
    assert fit_floor(given, MOUNT, "hall").best.farthest_m == pytest.approx(6.5, rel=0.05)


def test_a_sky_is_not_trusted() -> None:
    sky = np.maximum(inverse_depth(1e5, 2.0), 0.0).astype(np.float32)
    found = fit_floor([FloorView(sky, FOCAL_PX, 0.875)] * 20, MOUNT, "field")
    assert found.best.shift < 0.02
    assert found.best.farthest_m == 200.0


def test_the_wandering_of_pictures_is_told() -> None:
    factors = np.exp(np.random.default_rng(1).normal(0.0, 0.2, 20))
    wandering = [
        replace(view, disparity=((view.disparity * SCALE + SHIFT) * f - SHIFT) / SCALE)
        for view, f in zip(views(), factors.astype(np.float32), strict=True)
    ]
    found = fit_floor(wandering, MOUNT, "hall")
    off = np.abs(np.log(factors) - np.median(np.log(factors)))
    assert found.wander == pytest.approx(1.4826 * np.median(off), rel=0.2)


def test_without_a_floor_it_is_refused() -> None:
    wall = [replace(view, disparity=np.full_like(view.disparity, 3.0)) for view in views()]
    upside_down = [replace(view, disparity=view.disparity[::-1]) for view in views()]
    for useless in (wall, upside_down, views()[:15]):
        with pytest.raises(DatasetError, match=r"hall: a floor is seen in .* 16 are needed"):
            fit_floor(useless, MOUNT, "hall")


def test_a_view_is_the_picture_without_the_bars() -> None:
    class Red(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 255.0 * image[:, :1]

    class Wide:
        name, classes, protocol = "wide", (), DepthProtocol()

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Sample:
            return Sample(np.full((280, 1120, 3), 200, np.uint8), 900.0)

    seen = []
    found = read_views(Red(), Wide(), (560, 420), lambda: seen.append(1))
    assert len(found) == len(seen) == 3
    # 560x140 are inside; every fourth row and column of them.
    assert found[0].disparity.shape == (35, 140)
    np.testing.assert_allclose(found[0].disparity, 200.0)
    assert found[0].focal_px == pytest.approx(900.0 / 2 / 4)
    assert found[0].focal_width == pytest.approx(450.0 / 560)


def test_what_no_floor_can_be_found_with_is_refused(tmp_path: Path) -> None:
    line = '{"id": "0", "fx": 50.0, "truths": []}\n'
    (tmp_path / "frames.jsonl").write_text(16 * line)
    assert len(open_floors(str(tmp_path), MOUNT)) == 16
    with pytest.raises(ParameterError, match="--floor needs --camera-pitch"):
        open_floors(str(tmp_path), Mount(1.2))
    (tmp_path / "frames.jsonl").write_text(15 * line)
    with pytest.raises(DatasetError, match="15 pictures; --floor needs 16 or more"):
        open_floors(str(tmp_path), MOUNT)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DatasetError, match="plain pictures have no focal length"):
        open_floors(f"pictures:{tmp_path}", MOUNT)


FACTOR = 4.0


def relative_views(factors: np.ndarray | float = 1.0) -> list[FloorView]:
    """The same pictures by a network that gives depth, over `FACTOR` and each picture's own."""
    own = np.broadcast_to(factors, 20)
    return [
        replace(view, disparity=(1.0 / (view.disparity * SCALE + SHIFT) / FACTOR / f))
        for view, f in zip(views(), own.astype(np.float32), strict=True)
    ]


def test_the_factor_of_relative_depth_is_found_again() -> None:
    found = fit_floor_factor(relative_views(), MOUNT, "hall")
    assert found.best.factor == pytest.approx(FACTOR, rel=0.03)
    # Of twenty walls, 4 to 7.8 m away, the last takes more than a thousandth of the pixels.
    farthest_m = max(float((1.0 / (v.disparity * SCALE + SHIFT)).max()) for v in views())
    assert found.best.farthest_m == pytest.approx(farthest_m, rel=0.05)
    assert found.wander < 0.05
    assert found.delta1 is None
    assert "4" in found.summary()
    assert "relative depth, fitted to the floor in 20 of 20 pictures of hall" in found.summary()


def test_twice_the_height_is_twice_the_factor() -> None:
    low, high = (
        fit_floor_factor(relative_views(), replace(MOUNT, height_m=h), "hall").best
        for h in (1.2, 2.4)
    )
    assert high.factor == pytest.approx(2.0 * low.factor)
    assert high.farthest_m == pytest.approx(2.0 * low.farthest_m)


def test_the_wandering_of_relative_depths_is_told() -> None:
    factors = np.exp(np.random.default_rng(1).normal(0.0, 0.2, 20))
    found = fit_floor_factor(relative_views(factors), MOUNT, "hall")
    off = np.abs(np.log(factors) - np.median(np.log(factors)))
    assert found.wander == pytest.approx(1.4826 * np.median(off), rel=0.2)
    with pytest.raises(DatasetError, match=r"hall: a floor is seen in 15 of 15 .* 16 are needed"):
        fit_floor_factor(relative_views()[:15], MOUNT, "hall")


def test_no_relative_depth_is_trusted_beyond_what_counts() -> None:
    far = relative_views()
    for view in far:
        view.disparity[0] = 1000.0
    assert fit_floor_factor(far, MOUNT, "field").best.farthest_m == 200.0
