"""Cityscapes, KITTI and WildDash on tiny files in their own formats."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import open_dataset
from pag_ros.lab.datasets.kitti import parse_line
from pag_ros.manifest import NO_LABEL


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def grey(*rows: list[int], kind: type = np.uint8) -> np.ndarray:
    return np.array(rows, kind)


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    name = "{kind}/{split}/bern/bern_000000_000019_{end}"
    for split in ("train", "val"):
        values = {"split": split}
        write(
            tmp_path / name.format(kind="leftImg8bit", end="leftImg8bit.png", **values),
            np.full((2, 3, 3), (0, 0, 255), np.uint8),
        )
        write(
            tmp_path / name.format(kind="gtFine", end="gtFine_labelIds.png", **values),
            grey([7, 33, 0], [1, 16, 26]),
        )
        write(
            tmp_path / name.format(kind="disparity", end="disparity.png", **values),
            grey([0, 1, 257], [257, 513, 2561], kind=np.uint16),
        )
        camera = tmp_path / name.format(kind="camera", end="camera.json", **values)
        camera.parent.mkdir(parents=True)
        camera.write_text(json.dumps({"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000.0}}))
    return tmp_path


def test_cityscapes_ids_disparity_and_camera(cityscapes: Path) -> None:
    dataset = open_dataset(f"cityscapes:{cityscapes}")
    sample = dataset[0]
    assert (dataset.name, len(dataset), len(dataset.classes)) == ("cityscapes val", 1, 19)
    assert sample.labels.tolist() == [[0, 18, NO_LABEL], [NO_LABEL, NO_LABEL, 13]]
    # baseline * fx / disparity of 1, 2 and 10 px; the ego vehicle (id 1) is unknown.
    unknown = np.nan
    np.testing.assert_array_equal(sample.depth, [[unknown, unknown, 400], [unknown, 200, 40]])
    assert sample.focal_px == 2000.0
    assert sample.color[0, 0].tolist() == [255, 0, 0]


def test_cityscapes_without_stereo_has_labels_alone(cityscapes: Path) -> None:
    for path in cityscapes.glob("disparity/val/*/*"):
        path.unlink()
    assert open_dataset(f"cityscapes:{cityscapes}")[0].depth is None


def test_cityscapes_camera_that_lacks_the_baseline_is_named(cityscapes: Path) -> None:
    (path,) = cityscapes.glob("camera/val/*/*")
    path.write_text('{"intrinsic": {"fx": 2000.0}}')
    with pytest.raises(DatasetError, match=r"camera\.json: .*baseline"):
        open_dataset(f"cityscapes:{cityscapes}")[0]


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    drive = "2011_09_26_drive_0002_sync"
    write(
        tmp_path / f"2011_09_26/{drive}/image_02/data/0000000069.png",
        np.zeros((4, 6, 3), np.uint8),
    )
    depth = np.zeros((4, 6), np.uint16)
    depth[2, 3] = 2560
    write(tmp_path / f"val/{drive}/proj_depth/groundtruth/image_02/0000000069.png", depth)
    picture = f"2011_09_26/{drive}/image_02/data/0000000069.png"
    truth = f"{drive}/proj_depth/groundtruth/image_02/0000000069.png"
    (tmp_path / "eigen_test_files_with_gt.txt").write_text(
        f"{picture} {truth} 721.5377\n{picture} None 721.5377\n"
    )
    (tmp_path / "other.txt").write_text(f"2011_09_26/{drive} 69 l\n")
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(
        "calib_time: x\nP_rect_02: 700.5 0 0 0 0 1 0 0 0 0 1 0\n"
    )
    return tmp_path


def test_kitti_depth_is_a_256th_of_a_metre_and_lines_without_truth_are_left_out(
    kitti: Path,
) -> None:
    dataset = open_dataset(f"kitti-depth:{kitti}")
    assert len(dataset) == 1
    assert dataset[0].depth[2, 3] == 10.0
    assert np.isfinite(dataset[0].depth).sum() == 1
    assert dataset[0].focal_px == 721.5377
    assert dataset.protocol.cap_m == 80.0


def test_kitti_lists_of_drive_frame_and_side(kitti: Path) -> None:
    sample = open_dataset(f"kitti-depth:{kitti}", "other.txt")[0]
    assert sample.depth[2, 3] == 10.0
    assert sample.focal_px == 700.5


def test_garg_crop_cuts_off_as_published(kitti: Path) -> None:
    protocol = open_dataset(f"kitti-depth:{kitti}").protocol
    rows, columns = np.nonzero(protocol.counts(np.ones((375, 1242), np.float32)))
    assert (rows.min(), rows.max() + 1) == (153, 371)
    assert (columns.min(), columns.max() + 1) == (44, 1197)


@pytest.mark.parametrize("line", ["a b c d", "a.png ../../b.png 7", "/etc/a.png b.png"])
def test_bad_lines_of_a_list_are_named(line: str) -> None:
    with pytest.raises(DatasetError, match=r"list\.txt: line 3"):
        parse_line(Path("list.txt"), 3, line)


def test_kitti_semantic_has_the_cityscapes_classes(tmp_path: Path) -> None:
    write(tmp_path / "training/image_2/000000_10.png", np.zeros((1, 2, 3), np.uint8))
    write(tmp_path / "training/semantic/000000_10.png", grey([8, 9]))
    sample = open_dataset(f"kitti-semantic:{tmp_path}")[0]
    assert sample.labels.tolist() == [[1, NO_LABEL]]
    with pytest.raises(DatasetError, match="no split 'test'"):
        open_dataset(f"kitti-semantic:{tmp_path}", "test")


def test_wilddash_maps_segments_by_the_names_of_their_categories(tmp_path: Path) -> None:
    write(tmp_path / "images/a.jpg", np.zeros((1, 4, 3), np.uint8))
    segments = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]]], np.uint8)  # RGB
    write(tmp_path / "panoptic/a.png", segments[..., ::-1])
    names = {7: "road", 19: "trafficlight", 35: "van", 4: "static"}
    info = [{"id": 1, "category_id": 19}, {"id": 256, "category_id": 35}]
    index = {
        "categories": [{"id": i, "name": n} for i, n in names.items()],
        "annotations": [
            {"file_name": "a.png", "segments_info": [*info, {"id": 65536, "category_id": 4}]}
        ],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(index))
    assert open_dataset(f"wilddash:{tmp_path}")[0].labels.tolist() == [[6, 13, NO_LABEL, NO_LABEL]]


def test_wilddash_label_ids(tmp_path: Path) -> None:
    write(tmp_path / "images/a.jpg", np.zeros((1, 4, 3), np.uint8))
    write(tmp_path / "semantic/a.png", grey([7, 34, 38, 37]))
    assert open_dataset(f"wilddash:{tmp_path}")[0].labels.tolist() == [[0, 14, 0, NO_LABEL]]
