"""A bag becomes two folders; what becomes of every image is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from room_bags import Messages, write_walk

from pag_ros.errors import BagError, DatasetError
from pag_ros.evaluation.bags import Frame, Topics
from pag_ros.evaluation.truth import Truth
from pag_ros.image.camera_info import Intrinsics
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.recordings import ImportOptions, import_recordings
from pag_ros.lab.recordings.importing import ACCOUNT, as_sample, forget
from pag_ros.lab.recordings.pictures import write_sample

CLASSES = ("wall", "floor", "table")


@pytest.fixture
def walk(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "walk", **changes: Any) -> Path:
        return write_walk(Messages(), tmp_path / name, **changes)

    return write


def test_a_walk_is_split_and_all_of_it_accounted_for(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    account = import_recordings([walk()], tmp_path / "data", CLASSES, ImportOptions())
    assert account.images == 60
    assert account.train + account.held_out + account.left_out.total() == 60
    assert account.held_out >= 13
    assert account.train >= 35
    assert account.truths["depth"] == account.train + account.held_out
    assert account.seconds["to train on"] == pytest.approx(0.25 * account.train, abs=2.0)
    train = RoomPictures([tmp_path / "data" / "train"])
    assert len(train) == account.train
    assert train.classes == CLASSES
    assert not train.exact
    sample = train[0]
    assert sample.focal_px == 60.0
    assert sample.labels is None
    assert np.nanmedian(sample.depth) == pytest.approx(1.5, abs=0.1)
    assert not (tmp_path / "data" / "frames").exists()


def test_normals_are_derived_from_dense_depth_and_can_be_left_out(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    bag = walk()
    import_recordings([bag], tmp_path / "with", CLASSES, ImportOptions())
    normals = RoomPictures([tmp_path / "with" / "train"])[0].normals
    assert np.nanmedian(normals[..., 2]) < 0.0, "they face the camera"
    import_recordings([bag], tmp_path / "without", CLASSES, ImportOptions(normals=False))
    assert RoomPictures([tmp_path / "without" / "train"])[0].normals is None


def test_a_depth_scale_is_obeyed(walk: Callable[..., Path], tmp_path: Path) -> None:
    options = ImportOptions(depth_scale=0.0002)
    import_recordings([walk()], tmp_path / "data", CLASSES, options)
    depth = RoomPictures([tmp_path / "data" / "train"])[0].depth
    assert np.nanmedian(depth) == pytest.approx(0.3, abs=0.02)


def test_frames_that_show_nothing_new_are_left_out(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    first: dict[str, np.ndarray] = {}

    def edit(number: int, frame: dict[str, Any]) -> None:
        if number == 3:
            first["image"] = frame["image"]
        if number == 4:
            frame["image"] = first["image"]
        if number == 6:
            frame["image"] = np.full_like(frame["image"], 2)
        if number == 8:
            frame["depth"] = np.zeros_like(frame["depth"])
        if number == 9:
            frame["stamp_ns"] = frame["depth_stamp_ns"] = frame["stamp_ns"] - 150_000_000

    account = import_recordings([walk(edit=edit)], tmp_path / "data", CLASSES, ImportOptions())
    assert account.left_out["the same as the one before"] == 1
    assert account.left_out["too dark or too bright to see anything"] == 1
    assert account.left_out["without usable truth"] == 1
    assert account.left_out["within 0.2 s of the one before"] == 1


def test_what_is_seen_again_later_is_not_on_both_sides(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    seen: dict[int, np.ndarray] = {}

    def edit(number: int, frame: dict[str, Any]) -> None:
        seen[number] = frame["image"]
        if number == 58:  # shows what was filmed in the held-out stretch
            frame["image"] = seen[36]

    account = import_recordings([walk(edit=edit)], tmp_path / "data", CLASSES, ImportOptions())
    assert account.left_out["the same as a held-out frame"] == 1


def test_a_complete_import_is_not_repeated_and_a_stopped_one_begins_anew(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    bag, out = walk(), tmp_path / "data"
    account = import_recordings([bag], out, CLASSES, ImportOptions())
    seen = []
    again = import_recordings([bag], out, CLASSES, ImportOptions(), lambda: seen.append(1))
    assert again == account
    assert not seen
    forget(out)
    (out / "train" / "frames" / "torn.color.jpg").write_bytes(b"half a picture")
    assert import_recordings([bag], out, CLASSES, ImportOptions()) == account
    assert not (out / "train" / "frames" / "torn.color.jpg").exists()


def test_a_damaged_account_is_named(tmp_path: Path) -> None:
    (tmp_path / ACCOUNT).write_text(json.dumps({"format": 1}))
    with pytest.raises(DatasetError, match=f"{ACCOUNT}: not the account of an import \\(it lacks"):
        import_recordings([tmp_path / "bag"], tmp_path, CLASSES, ImportOptions())


def test_several_recordings_are_split_each_for_itself(
    walk: Callable[..., Path], tmp_path: Path
) -> None:
    bags = [walk("one", frames=40), walk("other", frames=40)]
    account = import_recordings(bags, tmp_path / "data", CLASSES, ImportOptions())
    held_out = RoomPictures([tmp_path / "data" / "held_out"]).frames
    assert {frame.id[:2] for frame in held_out} == {"00", "01"}
    assert account.images == 80


def test_late_depth_is_said(walk: Callable[..., Path], tmp_path: Path) -> None:
    def edit(number: int, frame: dict[str, Any]) -> None:
        frame["depth_stamp_ns"] += 30_000_000

    account = import_recordings([walk(edit=edit)], tmp_path / "data", CLASSES, ImportOptions())
    assert any("is stamped +30 ms from its image" in line for line in account.lines())


def _all_alike(number: int, frame: dict[str, Any]) -> None:
    frame["image"] = np.full_like(frame["image"], 90)


def _no_depth(number: int, frame: dict[str, Any]) -> None:
    frame["depth"] = np.zeros_like(frame["depth"])


def _nothing_measured(number: int, frame: dict[str, Any]) -> None:
    frame["depth"] = np.full((48, 64), np.nan, np.float32)


@pytest.mark.parametrize(
    ("frames", "edit", "reason", "remedy"),
    [
        (5, lambda number, frame: None, "of 5 images", "record a minute or more"),
        (40, _all_alike, "39 the same as the one before", "record a minute or more"),
        (40, _no_depth, "40 without usable truth", "or give a --teacher"),
        (40, _nothing_measured, "40 without usable truth", "or give a --teacher"),
    ],
)
def test_too_little_is_one_line_that_says_why(
    frames: int, edit: Any, reason: str, remedy: str, walk: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=remedy) as caught:
        import_recordings(
            [walk(frames=frames, edit=edit)], tmp_path / "data", CLASSES, ImportOptions()
        )
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bag_without_a_depth_topic_is_refused(walk: Callable[..., Path], tmp_path: Path) -> None:
    options = ImportOptions(topics=Topics(depth="none"))
    with pytest.raises(DatasetError, match="without usable truth"):
        import_recordings([walk()], tmp_path / "data", CLASSES, options)
    with pytest.raises(BagError, match="no such bag"):
        import_recordings([tmp_path / "nothing"], tmp_path / "data", CLASSES, options)


def test_pictures_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    from pag_ros.lab.datasets.sample import Sample

    sample = Sample(np.zeros((12, 16, 3), np.uint8), 20.0)
    with pytest.raises(DatasetError, match=r"a\.color\.jpg: cannot be written"):
        write_sample(tmp_path / "nowhere", "a", sample)


def test_normals_stand_as_the_whole_camera_sees_them() -> None:
    """A floor 1 m below a camera whose principal point lies far from the middle."""
    camera = Intrinsics(60.0, 60.0, 5.0, 10.0)
    rows = np.arange(20, 48)[:, None] + np.zeros((28, 64))
    depth = np.full((48, 64), np.nan, np.float32)
    depth[20:] = 60.0 / (rows - 10.0)
    frame = Frame(0, 0, 0, "", np.zeros((48, 64, 3), np.uint8), camera, Truth(depth))
    normals = as_sample(frame).normals
    known = np.isfinite(normals[..., 0])
    assert known.sum() > 200
    np.testing.assert_allclose(normals[known], [[0.0, -1.0, 0.0]] * known.sum(), atol=0.05)


def test_what_is_large_is_kept_smaller_with_its_camera() -> None:
    camera = Intrinsics(1000.0, 1000.0, 639.5, 359.5)
    image = np.zeros((720, 1280, 3), np.uint8)
    depth = np.full((720, 1280), 2.0, np.float32)
    sample = as_sample(Frame(0, 0, 0, "", image, camera, Truth(depth)))
    assert sample.color.shape == (360, 640, 3)
    assert sample.depth.shape == (360, 640)
    assert sample.focal_px == 500.0
    centre = sample.normals[180, 320]
    np.testing.assert_allclose(centre, [0.0, 0.0, -1.0], atol=0.01)
