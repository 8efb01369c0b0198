"""Rendered rooms as samples, and what augmentation may and may not change."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.image.letterbox import BAR_GREY  # noqa: E402
from pag_ros.lab.datasets.rooms import read_frame, read_index  # noqa: E402
from pag_ros.lab.training.augment import _flip, reframe  # noqa: E402
from pag_ros.lab.training.rooms import (  # noqa: E402
    UNKNOWN_BOUNDARY,
    EndlessSampler,
    MixedSampler,
    Rooms,
    boundaries,
)
from pag_ros.manifest import NO_LABEL  # noqa: E402


def test_resizing_scales_the_focal_length_and_not_the_depth(rooms: Path) -> None:
    item = Rooms([rooms], (32, 24), train=False)[0]
    assert item["image"].shape == (3, 24, 32)
    assert float(item["focal_px"]) == 26.0
    assert float(item["depth"].nan_to_num(0.0).max()) == 3.0


def test_an_item_depends_on_seed_and_key_only(rooms: Path) -> None:
    first, again = (Rooms([rooms], (32, 24), train=True, seed=4) for _ in range(2))
    other = Rooms([rooms], (32, 24), train=True, seed=5)
    assert torch.equal(first[13]["image"], again[13]["image"])
    assert not torch.equal(first[13]["image"], other[13]["image"])


def test_the_plain_picture_shows_the_same_part_without_a_cameras_flaws(rooms: Path) -> None:
    training = Rooms([rooms], (64, 48), train=True, seed=4)
    frames = [read_frame(frame).color for frame in read_index(rooms)]
    focal_px = read_index(rooms)[3].focal_px
    items = (training[key] for key in range(3, 200, len(training)))
    whole = next(item for item in items if float(item["focal_px"]) == focal_px)
    assert any(
        np.array_equal(whole["plain"].numpy().transpose(1, 2, 0), side)
        for side in (frames[3], frames[3][:, ::-1])
    )
    assert not torch.equal(whole["image"], whole["plain"])
    assert "plain" not in Rooms([rooms], (64, 48), train=False)[3]


def test_a_share_of_the_pictures_gets_a_cameras_flaws(rooms: Path) -> None:
    flawed = {}
    for share in (0.0, 0.5, 1.0):
        items = Rooms([rooms], (64, 48), train=True, seed=4, flaws=share)
        pairs = [(items[key]["image"], items[key]["plain"]) for key in range(40)]
        flawed[share] = sum(not torch.equal(image, plain) for image, plain in pairs)
    assert flawed[0.0] == 0
    assert 10 <= flawed[0.5] <= 30
    assert flawed[1.0] == 40


def test_flip_mirrors_the_picture_and_the_normals_x(rooms: Path) -> None:
    sample = read_frame(read_index(rooms)[0])
    flipped = _flip(sample)
    assert flipped.normals[10, 10] == pytest.approx([-0.6, 0.0, -0.8], abs=0.01)
    assert flipped.color[10, 60, 0] > 200
    assert flipped.labels[0, -1] == NO_LABEL


def test_reframing_keeps_truth_true(rooms: Path) -> None:
    sample = read_frame(read_index(rooms)[3])
    for seed in range(20):
        result = reframe(sample, (64, 48), np.random.default_rng(seed))
        assert result.depth.shape == (48, 64)
        assert set(np.unique(result.labels)) <= {0, 1, NO_LABEL}
        wall = result.labels == 0
        assert np.allclose(result.depth[wall], 3.0)
        assert np.allclose(np.abs(result.normals[wall][:, 0]), 0.6, atol=0.01)
        # Zooming in by s shows the same depth through a focal length longer by s.
        assert sample.focal_px <= result.focal_px <= sample.focal_px / 0.55


def with_runner_up(rooms: Path) -> Path:
    """Each pixel's runner-up is the other class, with a share of 40 of walls and 80 of floors."""
    lines = []
    for frame in read_index(rooms):
        labels = read_frame(frame).labels
        share = np.where(labels == 0, 40, 80)
        blue = np.zeros_like(share)
        planes = np.dstack([blue, share, 1 - labels.astype(int)]).clip(0, 255)
        cv2.imwrite(str(rooms / "frames" / f"{frame.id}.second.png"), planes.astype(np.uint8))
        truths = ["depth", "normals", "labels", "runner_up"]
        lines.append(json.dumps({"id": frame.id, "fx": frame.focal_px, "truths": truths}))
    (rooms / "frames.jsonl").write_text("\n".join(lines) + "\n")
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["wall", "floor"]}))
    return rooms


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [(64, 48), (64, 64)])
def test_the_runner_up_stays_with_its_label(
    rooms: Path, size: tuple[int, int], train: bool
) -> None:
    items = Rooms([with_runner_up(rooms)], size, train=train, seed=2)
    for number in range(12):
        item = items[number]
        for label, share in ((0, 40), (1, 80)):
            second = item["runner_up"][:, item["labels"] == label]
            assert bool((second[0] == 1 - label).all())
            assert bool((second[1] == share).all())
        assert 0 in item["labels"]


def test_a_runner_up_that_is_none_of_our_classes_has_no_share(rooms: Path) -> None:
    items = Rooms([with_runner_up(rooms)], (64, 48), train=False, classes=("wall", "sky"))
    second = items[0]["runner_up"][:, items[0]["labels"] == 0]
    assert second.shape[1] > 0
    assert bool((second[0] == NO_LABEL).all())
    assert bool((second[1] == 0).all())


def test_without_a_runner_up_no_share_is_taken(rooms: Path) -> None:
    assert not Rooms([rooms], (64, 48), train=False)[0]["runner_up"].any()


def test_boundaries_are_where_class_or_depth_jumps() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 1
    depth = np.ones((4, 6), np.float32)
    depth[2:] = 2.0
    edge = boundaries(labels, depth)
    assert edge[0].tolist() == [0, 0, 1, 0, 0, 0]
    assert edge[1].tolist() == [1, 1, 1, 1, 1, 0]


def test_the_end_of_known_depth_is_a_boundary_and_the_unknown_has_none_inside() -> None:
    depth = np.ones((3, 6), np.float32)
    depth[:, 3:] = np.nan
    assert boundaries(np.zeros((3, 6), np.uint8), depth)[0].tolist() == [0, 0, 1, 0, 0, 0]


def test_sampler_resumes_with_the_keys_of_an_unbroken_run() -> None:
    unbroken = list(islice(EndlessSampler(5, seed=1), 17))
    resumed = list(islice(EndlessSampler(5, seed=1, start=7), 10))
    assert unbroken[7:] == resumed
    assert sorted(k % 5 for k in unbroken[:5]) == [0, 1, 2, 3, 4]


def test_truths_that_a_dataset_lacks_are_unknown(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((24, 32, 3), np.uint8))
    drawn = np.zeros((3, 24, 32), np.uint8)
    drawn[:, :, 8], drawn[0, :, 20] = 1, 1
    cells = np.empty((1, 3), object)
    for i in range(3):
        cells[0, i] = {"Boundaries": drawn[i]}
    scipy_io.savemat(tmp_path / "1.mat", {"groundTruth": cells})
    spec = f"bsds500:{tmp_path}"
    item = Rooms([spec], (32, 24), train=False)[0]
    assert item["depth"].isnan().all()
    assert item["normals"].isnan().all()
    assert (item["labels"] == NO_LABEL).all()
    assert item["boundary"][5, [7, 8, 20]].tolist() == [0.0, 1.0, -1.0]
    for key in range(8):
        assert Rooms([spec], (16, 12), train=True)[key]["boundary"].max() == 1.0


def test_labels_of_other_datasets_are_mapped_by_name(rooms: Path, tmp_path: Path) -> None:
    (rooms / "dataset.json").write_text('{"classes": ["wall", "floor"]}')
    assert Rooms([rooms], (64, 48), train=False).classes == ("wall", "floor")
    mapped = Rooms([rooms], (64, 48), train=False, classes=["floor", "chair"])
    assert set(mapped[0]["labels"].unique().tolist()) == {0, NO_LABEL}
    with pytest.raises(DatasetError, match="none of its classes"):
        Rooms([rooms], (64, 48), train=False, classes=["sky"])


def test_several_datasets_follow_one_another(rooms: Path) -> None:
    both = Rooms([rooms, f"rooms:{rooms}"], (32, 24), train=False)
    assert len(both) == 12
    assert torch.equal(both[7]["image"], both[1]["image"])


def test_a_mixture_holds_in_every_stretch_and_no_key_comes_twice() -> None:
    keys = list(islice(MixedSampler([5, 20], [3.0, 1.0], seed=1), 80))
    from_first = [key % 25 < 5 for key in keys]
    for start in range(0, 80, 8):
        assert sum(from_first[start : start + 8]) == 6
    assert len(set(keys)) == len(keys)
    assert {key % 25 for key in keys if key % 25 < 5} == set(range(5))
    assert sorted(key for key in keys if key % 25 >= 5) == list(range(5, 25))


def test_a_resumed_mixture_goes_on_with_the_same_keys() -> None:
    def keys(start: int) -> list[int]:
        return list(islice(MixedSampler([5, 20], [3.0, 1.0], seed=1, start=start), 50 - start))

    assert keys(0)[13:] == keys(13)
    assert keys(0) != list(islice(MixedSampler([5, 20], [3.0, 1.0], seed=2), 50))


def test_frames_may_lack_truths(rooms: Path) -> None:
    index = rooms / "frames.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[0]["truths"] = ["depth"]
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (rooms / "frames" / f"{lines[0]['id']}.normal.png").unlink()
    item = Rooms([rooms], (64, 48), train=False)[0]
    assert item["depth"].isfinite().any()
    assert item["normals"].isnan().all()
    assert (item["labels"] == NO_LABEL).all()
    assert (item["boundary"] == UNKNOWN_BOUNDARY).all()


def test_recorded_rooms_have_no_boundaries_of_their_own(rooms: Path) -> None:
    assert (Rooms([rooms], (64, 48), train=False)[0]["boundary"] >= 0).all()
    header = rooms / "dataset.json"
    data = json.loads(header.read_text()) if header.is_file() else {}
    header.write_text(json.dumps({**data, "exact": False}))
    item = Rooms([rooms], (64, 48), train=False)[0]
    assert (item["boundary"] == UNKNOWN_BOUNDARY).all()


def test_another_aspect_ratio_gets_bars_in_which_nothing_is_known(rooms: Path) -> None:
    item = Rooms([rooms], (64, 64), train=False)[0]
    assert (item["image"][:, :8] == BAR_GREY).all()
    assert (item["image"][:, -8:] == BAR_GREY).all()
    assert item["depth"][:8].isnan().all()
    assert item["depth"][9:-9].isfinite().any()
    assert (item["labels"][:8] == NO_LABEL).all()
    focal_px = float(Rooms([rooms], (64, 48), train=False)[0]["focal_px"])
    assert float(item["focal_px"]) == pytest.approx(focal_px), "one scale for both axes"
