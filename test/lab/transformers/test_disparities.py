"""The pixels that metres are fitted to: of pictures with true depth, as the node sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.evaluation.metrics import DepthProtocol  # noqa: E402
from pag_ros.lab.datasets import Sample  # noqa: E402
from pag_ros.lab.transformers import disparities  # noqa: E402
from pag_ros.lab.transformers.disparities import (  # noqa: E402
    count_depths,
    open_depths,
    read_disparities,
)

SIZE = (56, 42)


class Brightness(torch.nn.Module):
    """Its disparity is ten times the brightness of a pixel."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 10.0 * image.mean(1, keepdim=True)


class Ramps:
    """Pictures that get brighter to the right; true depth is 50 over the disparity."""

    name = "ramps"
    classes = ()
    protocol = DepthProtocol(cap_m=10.0)

    def __init__(self, count: int, known: int | None = None, size: tuple[int, int] = SIZE) -> None:
        self.count, self.known, self.size = count, count if known is None else known, size
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        width, height = self.size
        row = np.linspace(10, 250, width).astype(np.uint8)
        color = np.broadcast_to(row[None, :, None], (height, width, 3)).copy()
        depth = np.broadcast_to(50.0 * 255.0 / (10.0 * row), (height, width)).astype(np.float32)
        return Sample(color, 0.8 * width + index, depth if index < self.known else None)


def test_pixels_have_the_disparity_and_the_depth_of_one_place() -> None:
    found = read_disparities(Brightness(), Ramps(16), SIZE)
    assert found.disparity.shape == found.depth.shape == (16, 2000)
    np.testing.assert_allclose(found.disparity * found.depth, 50.0, rtol=1e-5)
    assert found.source == "ramps"
    assert found.focal_widths == pytest.approx((0.8, 0.8 + 15 / 56))


def test_depths_beyond_the_cap_of_published_scores_count() -> None:
    assert read_disparities(Brightness(), Ramps(16), SIZE).depth.max() > 100.0


def test_what_is_nearer_than_any_camera_sees_does_not_count() -> None:
    class Near(Ramps):
        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            sample.depth[::2] = 0.01
            return sample

    assert read_disparities(Brightness(), Near(16), SIZE).depth.min() > 0.1


def test_pictures_of_another_shape_have_no_depth_in_their_bars() -> None:
    found = read_disparities(Brightness(), Ramps(16, size=(112, 42)), SIZE)
    # Of the bars, which are half of the picture, the disparity is that of grey.
    assert np.abs(np.log(found.disparity * found.depth / 50.0)).max() < 0.2
    assert found.focal_widths[0] == pytest.approx(0.8)


def test_of_many_pictures_some_are_read_all_over() -> None:
    dataset, seen = Ramps(500), []
    read_disparities(Brightness(), dataset, SIZE, lambda: seen.append(1))
    assert len(dataset.read) == len(seen) == count_depths(dataset) == disparities.MAX_PICTURES
    assert (dataset.read[0], dataset.read[-1]) == (0, 499)


def test_too_few_with_true_depth_are_refused(tmp_path: Path) -> None:
    assert len(read_disparities(Brightness(), Ramps(40, known=16), SIZE).depth) == 16
    with pytest.raises(DatasetError, match="ramps: true depth in 15 of its pictures"):
        read_disparities(Brightness(), Ramps(40, known=15), SIZE)
    with pytest.raises(DatasetError, match="no such folder"):
        open_depths(str(tmp_path / "none"))
    line = '{"id": "0", "fx": 50.0}\n'
    (tmp_path / "frames.jsonl").write_text(line * 15)
    with pytest.raises(DatasetError, match="15 pictures; metres are fitted to 16 or more"):
        open_depths(str(tmp_path))
    (tmp_path / "frames.jsonl").write_text(line * 16)
    assert len(open_depths(str(tmp_path))) == 16
