"""Specs, untrusted files, BSDS500."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.lab.datasets import files, open_dataset, split_spec  # noqa: E402
from pag_ros.lab.datasets.files import read_mat  # noqa: E402


def test_a_plain_folder_is_rendered_rooms(rooms: Path) -> None:
    assert split_spec(rooms) == split_spec(str(rooms)) == ("rooms", rooms)
    assert len(open_dataset(rooms)) == 6
    assert open_dataset(f"rooms:{rooms}")[0].boundary is None


def test_unknown_names_and_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'nyu'.*nyuv2-40"):
        open_dataset("nyu:/data")
    with pytest.raises(DatasetError, match="nowhere"):
        open_dataset(f"cityscapes:{tmp_path}/nowhere")
    with pytest.raises(DatasetError, match="leftImg8bit"):
        open_dataset(f"cityscapes:{tmp_path}")


def test_rooms_of_other_classes_do_not_mix(rooms: Path) -> None:
    (rooms / "dataset.json").write_text('{"classes": ["wall", "floor"]}')
    assert open_dataset(rooms).classes == ("wall", "floor")
    (rooms / "dataset.json").write_text('{"classes": 3}')
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        open_dataset(rooms)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    data = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data + b"\0\0\0\0IEND\xaeB`\x82")
    with pytest.raises(DatasetError, match=r"huge\.png.*60000x60000"):
        files.read_color(path)


def test_pictures_may_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((4, 6, 3), np.uint8))
    assert files.read_color(path).flags.writeable


def test_cut_off_and_wrong_pictures_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    with pytest.raises(DatasetError, match="16 bits"):
        files.read_gray16(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"a\.png"):
        files.read_gray8(path)


def test_a_matlab_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.mat"
    scipy_io.savemat(path, {"x": np.zeros(10**6)}, do_compression=True)
    monkeypatch.setattr(files, "MAX_MAT_BYTES", 10**6)
    with pytest.raises(DatasetError, match=r"bomb\.mat.*it unpacks"):
        files.read_mat(path)


def write_bsds(folder: Path, name: str = "12003") -> None:
    cv2.imwrite(str(folder / f"{name}.jpg"), np.zeros((4, 6, 3), np.uint8))
    cells = np.empty((1, 2), object)
    for i in range(2):
        drawn = np.zeros((4, 6), np.uint8)
        drawn[:, 2 + i] = 1
        cells[0, i] = {"Segmentation": drawn.astype(np.uint16), "Boundaries": drawn}
    scipy_io.savemat(folder / f"{name}.mat", {"groundTruth": cells})


def test_a_matlab_file_that_claims_many_cells_is_refused(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    flags, dimensions = struct.pack("<II", 1, 0), struct.pack("<ii", 1, 10**9)  # 1: a cell array
    matrix = element(6, flags) + element(5, dimensions) + element(1, b"groundTruth")
    header = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "cells.mat").write_bytes(header + element(14, matrix))
    with pytest.raises(DatasetError, match=r"cells\.mat.*claims 1x1000000000 elements"):
        read_mat(tmp_path / "cells.mat")


def test_bsds_keeps_its_annotators_apart(tmp_path: Path) -> None:
    write_bsds(tmp_path)
    sample = open_dataset(f"bsds500:{tmp_path}")[0]
    assert sample.boundary.shape == (2, 4, 6)
    assert sample.boundary.sum(axis=1).tolist() == [[0, 0, 4, 0, 0, 0], [0, 0, 0, 4, 0, 0]]
    assert sample.depth is None


def test_bsds_published_layout_and_split(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for kind in ("images", "groundTruth"):
            (tmp_path / "BSDS500/data" / kind / split).mkdir(parents=True)
    data = tmp_path / "BSDS500/data"
    write_bsds(data / "images/val")
    (data / "images/val/12003.mat").rename(data / "groundTruth/val/12003.mat")
    assert open_dataset(f"bsds500:{tmp_path}", "val")[0].boundary.any()
    with pytest.raises(DatasetError, match=r"images/test"):
        open_dataset(f"bsds500:{tmp_path}")


def test_bsds_file_without_boundaries_is_named(tmp_path: Path) -> None:
    write_bsds(tmp_path)
    scipy_io.savemat(tmp_path / "12003.mat", {"groundTruth": np.zeros(3)})
    with pytest.raises(DatasetError, match=r"12003\.mat.*Boundaries"):
        open_dataset(f"bsds500:{tmp_path}")[0]
