"""Any folder of pictures is a dataset without truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import open_dataset


def test_pictures_come_in_the_order_of_their_names_and_without_truth(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, red in (("b.png", 20), ("a.JPG", 10), ("below/c.jpeg", 30)):
        picture = np.zeros((30, 40, 3), np.uint8)
        picture[..., 2] = red
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("none")
    dataset = open_dataset(f"pictures:{tmp_path}")
    assert [round(float(dataset[i].color[..., 0].mean())) for i in range(len(dataset))] == [
        10,
        20,
        30,
    ]
    sample = dataset[0]
    assert sample.focal_px == pytest.approx(36.0)
    assert sample.depth is None
    assert sample.labels is None


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DatasetError, match=r"holds no picture \(\.jpg, \.jpeg, \.png\)"):
        open_dataset(f"pictures:{tmp_path}")


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.jpg"):
        open_dataset(f"pictures:{tmp_path}")[0]
