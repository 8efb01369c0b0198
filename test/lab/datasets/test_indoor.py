"""NYUv2, Stanford 2D-3D-S and 7-Scenes on tiny files in their own formats."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.image.camera_info import Intrinsics  # noqa: E402
from pag_ros.lab.datasets import TRAINING, open_dataset  # noqa: E402
from pag_ros.lab.datasets.geometry import edges, normals_of, rays, register  # noqa: E402
from pag_ros.lab.datasets.nyuv2 import read_normals  # noqa: E402
from pag_ros.lab.datasets.s2d3d import areas_of  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402


@pytest.fixture
def nyu(tmp_path: Path) -> Path:
    """Three pictures: a wall at 1, 2, 3 m; labels 0, 1, 2, 894 in columns 100 to 103."""
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        images = np.zeros((3, 3, 640, 480), np.uint8)
        images[:, 0, 50, 60] = 200  # red at row 60, column 50
        file["images"] = images
        labels = np.full((3, 640, 480), 5, np.uint16)
        labels[:, 100:104] = np.array([0, 1, 2, 894])[:, None]
        file["labels"] = labels
        depth = np.ones((3, 640, 480), np.float32)
        file["depths"] = depth * np.array([1, 2, 3], np.float32)[:, None, None]
    scipy_io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1], [3]], "testNdxs": [[2]]})
    mapping = np.full((1, 894), 40, np.uint8)
    mapping[0, :2] = 22, 1
    scipy_io.savemat(tmp_path / "classMapping40.mat", {"mapClass": mapping})
    to_13 = np.full((1, 40), 7, np.uint8)
    to_13[0, [0, 21]] = 12, 3
    names = {"classMapping13": {"labels13": to_13, "class13": np.array(["x"], object)}}
    scipy_io.savemat(tmp_path / "class13Mapping.mat", names)
    return tmp_path


def test_nyu_split_classes_and_crop(nyu: Path) -> None:
    dataset = open_dataset(f"nyuv2-40:{nyu}")
    sample = dataset[0]
    assert (len(dataset), len(open_dataset(f"nyuv2-40:{nyu}", TRAINING))) == (1, 2)
    assert len(dataset.classes) == 40
    assert sample.color[60, 50].tolist() == [200, 0, 0]
    assert sample.labels[100, 99:105].tolist() == [39, NO_LABEL, 21, 0, 39, 39]
    rows, columns = np.nonzero(sample.depth == 2.0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 470, 41, 600)
    assert (sample.labels[:45] == NO_LABEL).all()
    assert sample.focal_px == pytest.approx(518.8579)
    assert dataset.protocol.cap_m == 10.0


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.inf, np.nan])
def test_nyu_depth_that_is_none_is_unknown(nyu: Path, nothing: float) -> None:
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat", "a") as file:
        file["depths"][1, 300, 200] = nothing
    sample = open_dataset(f"nyuv2-40:{nyu}")[0]
    assert np.isnan(sample.depth[200, 300])
    assert np.isnan(sample.normals[202, 302]).all()
    assert np.isfinite(sample.normals[210, 310]).all()


def test_nyu_13_classes_go_through_the_40(nyu: Path) -> None:
    dataset = open_dataset(f"nyuv2-13:{nyu}")
    assert dataset.classes[2] == "ceiling"
    assert dataset[0].labels[100, 100:104].tolist() == [NO_LABEL, 2, 11, 6]


def test_nyu_normals_are_computed_where_none_are_published(nyu: Path) -> None:
    dataset = open_dataset(f"nyuv2-40:{nyu}")
    assert dataset.normals_from == "depth"
    assert dataset[0].normals[200, 300] == pytest.approx([0.0, 0.0, -1.0], abs=1e-4)


def test_nyu_published_normals_face_the_camera(nyu: Path) -> None:
    (nyu / "normals").mkdir()
    normals = np.zeros((480, 640, 3), np.float32)
    normals[..., 2] = 2.0  # away from the camera and too long
    valid = np.ones((480, 640), np.uint8)
    valid[200, 300] = 0
    parts = {"nx": normals[..., 0], "ny": normals[..., 1], "nz": normals[..., 2]}
    scipy_io.savemat(nyu / "normals/nm_000002.mat", {**parts, "depthValid": valid})
    dataset = open_dataset(f"nyuv2-40:{nyu}")
    assert dataset.normals_from == "published"
    assert dataset[0].normals[200, 301].tolist() == [0.0, 0.0, -1.0]
    assert np.isnan(dataset[0].normals[200, 300]).all()
    np.savez(nyu / "normals/000002.npz", normals=-normals)
    assert dataset[0].normals[200, 300].tolist() == [0.0, 0.0, -1.0]


def test_an_npz_that_claims_a_huge_array_is_refused(nyu: Path) -> None:
    (nyu / "normals").mkdir(exist_ok=True)
    header = io.BytesIO()
    claims = {"descr": "<f4", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(header, claims)
    with zipfile.ZipFile(nyu / "normals/000002.npz", "w") as archive:
        archive.writestr("normals.npy", header.getvalue() + bytes(64))
    with pytest.raises(DatasetError, match=r"000002\.npz: not a file with 'normals'"):
        read_normals(nyu / "normals", 2)


def test_pickles_in_npz_are_refused(nyu: Path) -> None:
    (nyu / "normals").mkdir()
    np.savez(nyu / "normals/000002.npz", normals=np.array([{}], object))
    with pytest.raises(DatasetError, match=r"000002\.npz"):
        open_dataset(f"nyuv2-40:{nyu}")[0]


@pytest.mark.parametrize("name", ["nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"])
def test_damaged_nyu_files_are_named(nyu: Path, name: str) -> None:
    (nyu / name).write_bytes(b"MATLAB, but not quite" * 20)
    with pytest.raises(DatasetError, match=name):
        open_dataset(f"nyuv2-40:{nyu}")


def test_nyu_arrays_of_another_shape_are_refused_before_they_are_read(nyu: Path) -> None:
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["labels"]
        file.create_dataset("labels", (3, 60000, 60000), np.uint16)
    with pytest.raises(DatasetError, match="'labels'"):
        open_dataset(f"nyuv2-40:{nyu}")


def test_normals_of_a_slanted_plane() -> None:
    camera = Intrinsics(100.0, 110.0, 40.0, 30.0)
    normal = np.array([0.6, 0.0, -0.8])
    depth = (-2.0 / (rays(camera, (60, 80)) @ normal)).astype(np.float32)
    depth[10, 10] = np.nan
    computed = normals_of(depth, camera)
    assert computed[30, 40] == pytest.approx(normal, abs=1e-3)
    assert np.isnan(computed[12, 12]).all()


def test_a_floor_at_a_grazing_angle_has_no_edges_but_its_end() -> None:
    rows = np.arange(1, 61, dtype=np.float32)
    depth = np.tile((60.0 / rows)[:, None], (1, 40)).astype(np.float32)
    assert not edges(depth).any()
    depth[:, 20:] = 0.5
    assert edges(depth)[30].nonzero()[0].tolist() == list(range(17, 23))


def test_registration_magnifies_fills_gaps_and_keeps_the_nearest() -> None:
    source, target = Intrinsics(10.0, 10.0, 8.0, 8.0), Intrinsics(9.0, 9.0, 8.0, 8.0)
    depth = np.full((16, 16), 4.0, np.float32)
    depth[8, 8] = 1.0
    moved = register(depth, source, target)
    assert moved[8, 8] == 1.0
    assert (moved[2:15, 2:15] > 0).all()
    shifted = register(depth, source, source, (0.4, 0.0, 0.0))
    assert shifted[8, 12] == 1.0  # 0.4 m at 1 m and 10 px focal length


@pytest.fixture
def stanford(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    names = ["<UNK>_0_<UNK>_0_0", "chair_9_office_1_4", *["clutter_1_hall_1_1"] * 300]
    (tmp_path / "assets/semantic_labels.json").write_text(json.dumps(names))
    for area in ("1", "2", "3", "4", "5a", "5b", "6"):
        _write_panorama(tmp_path / f"area_{area}/pano")
    return tmp_path


def _write_panorama(folder: Path) -> None:
    semantic = np.array([[[0, 0, 1], [0, 1, 3], [13, 13, 13], [0, 0, 0]]], np.uint8)
    normal = np.array(
        [[[255, 127, 127], [128, 128, 128], [127, 127, 0], [127, 255, 127]]], np.uint8
    )
    pictures = {
        "rgb/{}rgb.png": np.zeros((1, 4, 3), np.uint8),
        "depth/{}depth.png": np.array([[512, 65535, 0, 1024]], np.uint16),
        "normal/{}normals.png": normal[..., ::-1],
        "semantic/{}semantic.png": semantic[..., ::-1],
    }
    for name, pixels in pictures.items():
        path = folder / name.format("camera_1_office_1_frame_equirectangular_domain_")
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), pixels)
    (folder / "pose").mkdir()
    # Right is the building's y, down is -z, forward is x.
    pose = {"camera_rt_matrix": [[0, 1, 0, 5], [0, 0, -1, 6], [1, 0, 0, 7]]}
    path = folder / "pose/camera_1_office_1_frame_equirectangular_domain_pose.json"
    path.write_text(json.dumps(pose))


def test_stanford_units_labels_and_normals_in_the_camera(stanford: Path) -> None:
    sample = open_dataset(f"s2d3d:{stanford}")[0]
    np.testing.assert_array_equal(sample.depth, [[1.0, np.nan, np.nan, 2.0]])
    assert sample.labels.tolist() == [[8, 12, NO_LABEL, NO_LABEL]]
    assert sample.normals[0, 0] == pytest.approx([0.0, 0.0, 1.0], abs=0.01)
    assert np.isnan(sample.normals[0, 1]).all()
    assert sample.normals[0, 2] == pytest.approx([0.0, 1.0, 0.0], abs=0.01)
    assert sample.normals[0, 3] == pytest.approx([1.0, 0.0, 0.0], abs=0.01)
    assert sample.focal_px == pytest.approx(4 / (2 * np.pi))


def test_stanford_folds(stanford: Path) -> None:
    assert areas_of("test") == ("5a", "5b")
    assert areas_of("fold2-train") == ("1", "3", "5a", "5b", "6")
    assert areas_of("fold3-test") == ("1", "3", "6")
    assert len(open_dataset(f"s2d3d:{stanford}", TRAINING)) == 5


def test_seven_scenes_depth_is_registered_and_its_edges_are_unknown(tmp_path: Path) -> None:
    stored = np.full((480, 640), 2000, np.uint16)
    stored[:, 400:] = 3000
    stored[200:280, 300:340] = 65535
    cv2.imwrite(str(tmp_path / "frame-000000.depth.png"), stored)
    cv2.imwrite(str(tmp_path / "frame-000000.color.jpg"), np.zeros((480, 640, 3), np.uint8))
    sample = open_dataset(f"seven-scenes:{tmp_path}")[0]
    edge = 320 + round(80 * 525 / 585)
    assert sample.depth[100, edge - 8] == 2.0
    assert sample.depth[100, edge + 8] == 3.0
    assert np.isnan(sample.depth[100, edge])
    assert np.isnan(sample.depth[0, 0])
    assert np.isnan(sample.depth[240, 320])
    assert np.nanmax(sample.depth) == 3.0
    assert sample.focal_px == 525.0


def test_seven_scenes_published_split(tmp_path: Path) -> None:
    (tmp_path / "TestSplit.txt").write_text("sequence3\n")
    (tmp_path / "TrainSplit.txt").write_text("sequence1\nsequence2\n")
    for number in (1, 2, 3):
        folder = tmp_path / f"seq-{number:02d}"
        folder.mkdir()
        cv2.imwrite(str(folder / "frame-000000.depth.png"), np.zeros((2, 2), np.uint16))
    spec = f"seven-scenes:{tmp_path}"
    counts = [len(open_dataset(spec, split)) for split in ("test", "train", "all")]
    assert counts == [1, 2, 3]
