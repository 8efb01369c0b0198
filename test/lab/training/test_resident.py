"""Frames that stay on the device: what they lose, and what a batch of them shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.lab.training import gpu_augment, resident  # noqa: E402
from pag_ros.lab.training.gpu_augment import photograph, random_views, reframe  # noqa: E402
from pag_ros.lab.training.resident import ResidentRooms  # noqa: E402
from pag_ros.lab.training.rooms import EndlessSampler, Rooms  # noqa: E402
from pag_ros.lab.training.trainer import TrainConfig, Trainer  # noqa: E402

from .test_trainer import config  # noqa: E402

CPU = torch.device("cpu")
WHOLE = [1.0, 0.0, 0.0, 1.0]
TRUTHS = ("depth", "normals", "labels", "runner_up", "boundary")


def batches(rooms: Path, seed: int = 0, start: int = 0, flaws: float = 1.0) -> Iterator[dict]:
    resident_rooms = ResidentRooms(Rooms([rooms], (64, 48), True, flaws=flaws), CPU, workers=0)
    keys = EndlessSampler(6, seed=1, start=4 * start)
    return resident_rooms.batches(keys, 4, (seed,), start)


def opened(rooms: Path) -> tuple[dict, dict]:
    """A frame as it was read, and as it comes back from a few bytes, in a batch of its own."""
    frame = Rooms([rooms], (64, 48), True).frame(2, (64, 48))
    item = {name: value[None] for name, value in frame.items()}
    return item, resident._opened(resident._stored(item))


def test_bytes_lose_less_than_the_files_have(rooms: Path) -> None:
    item, again = opened(rooms)
    assert torch.equal(item["depth"].isnan(), again["depth"].isnan())
    torch.testing.assert_close(again["depth"], item["depth"], atol=5.1e-4, rtol=0, equal_nan=True)
    torch.testing.assert_close(
        again["normals"], item["normals"], atol=4.1e-3, rtol=0, equal_nan=True
    )
    for name in ("image", "labels", "runner_up", "boundary"):
        assert torch.equal(again[name], item[name].float()), name
    assert sum(v.nbytes for v in resident._stored(item).values()) <= 12 * 64 * 48 + 4


def test_distances_beyond_a_signed_word_come_back() -> None:
    item = {name: torch.zeros(1, 1, 1) for name in ("labels", "boundary")}
    item |= {"depth": torch.tensor([[[40.0]]]), "normals": torch.zeros(1, 3, 1, 1)}
    assert float(resident._opened(resident._stored(item))["depth"]) == 40.0


def test_a_whole_view_is_the_frame_itself(rooms: Path) -> None:
    item, again = opened(rooms)
    seen = reframe(again, (64, 48), torch.tensor([WHOLE]))
    assert torch.equal(seen["image"], item["image"])
    assert torch.equal(seen["focal_px"], item["focal_px"])
    for name in TRUTHS:
        torch.testing.assert_close(seen[name], item[name], atol=5e-3, rtol=0, equal_nan=True)
        assert seen[name].dtype == item[name].dtype, name


def test_a_mirrored_view_turns_the_normals_over(rooms: Path) -> None:
    _, again = opened(rooms)
    seen = reframe(again, (64, 48), torch.tensor([WHOLE]))
    mirrored = reframe(again, (64, 48), torch.tensor([[1.0, 0.0, 0.0, -1.0]]))
    assert torch.equal(mirrored["image"], seen["image"].flip(3))
    assert torch.equal(mirrored["labels"], seen["labels"].flip(2))
    turned = seen["normals"].flip(3) * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(mirrored["normals"], turned, equal_nan=True)


def test_a_part_is_seen_through_a_longer_lens(rooms: Path) -> None:
    """The left upper corner, unknown pixels and all: larger, at the same distances."""
    item, again = opened(rooms)
    corner = torch.tensor([[0.25, -1.0, -1.0, 1.0]])
    seen = reframe(again, (64, 48), corner)
    torch.testing.assert_close(seen["focal_px"], 4.0 * item["focal_px"])
    expected = again["depth"][:, :12, :16].repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(seen["depth"], expected, equal_nan=True)
    small = reframe(again, (16, 12), corner)
    torch.testing.assert_close(small["focal_px"], item["focal_px"])
    torch.testing.assert_close(small["depth"], again["depth"][:, :12, :16], equal_nan=True)


def test_views_stay_inside_and_vary() -> None:
    views = random_views(2000, torch.Generator().manual_seed(0))
    share, x, y, mirrored = views.unbind(1)
    assert share.min() >= 0.6
    assert share.max() == 1.0
    assert float((share == 1.0).float().mean()) == pytest.approx(0.4, abs=0.05)
    assert max(float(x.abs().max()), float(y.abs().max())) <= 1.0
    assert set(mirrored.tolist()) == {1.0, -1.0}
    assert float(mirrored.mean()) == pytest.approx(0.0, abs=0.1)


def test_only_a_share_gets_a_cameras_flaws() -> None:
    pictures = torch.full((400, 3, 8, 8), 100, dtype=torch.uint8)
    seen = photograph(pictures, 0.25, torch.Generator().manual_seed(0))
    changed = (seen != pictures).flatten(1).any(1).float().mean()
    assert float(changed) == pytest.approx(0.25, abs=0.06)
    assert torch.equal(photograph(pictures, 0.0, torch.Generator().manual_seed(0)), pictures)


def test_flaws_leave_a_plain_picture_plain_but_for_noise_and_the_lens() -> None:
    """No kernel of a blur darkens or brightens: the sum of its weights is 1."""
    plain = torch.full((50, 3, 32, 32), 0.5)
    torch.testing.assert_close(gpu_augment._blur(plain, torch.Generator().manual_seed(1)), plain)


def test_a_blur_smears_each_picture_by_its_own_kernel() -> None:
    points = torch.zeros(40, 3, 33, 33)
    points[:, :, 16, 16] = 1.0
    blurred = gpu_augment._blur(points, torch.Generator().manual_seed(1))
    assert (blurred[:, 0] - blurred[:, 2]).abs().max() < 1e-6
    assert len({round(float(one.amax()), 4) for one in blurred}) > 30
    # Symmetric about the point: a blur moves nothing.
    torch.testing.assert_close(blurred, blurred.flip((2, 3)), atol=1e-5, rtol=0)


def test_a_batch_depends_on_seed_and_number_only(rooms: Path) -> None:
    stream, again, other = batches(rooms), batches(rooms), batches(rooms, seed=9)
    first, second = next(stream), next(stream)
    for name, value in next(batches(rooms)).items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=0, equal_nan=True)
    resumed = next(batches(rooms, start=1))
    assert torch.equal(resumed["image"], second["image"])
    assert not torch.equal(next(again)["image"], second["image"])
    assert not torch.equal(next(other)["image"], first["image"])
    kept = ResidentRooms(Rooms([rooms], (64, 48), True, flaws=0.0), CPU, workers=0)
    alike = kept.batches([3] * 8, 4, (0,), 0)
    assert not torch.equal(next(alike)["focal_px"], next(alike)["focal_px"])


def test_pictures_come_with_and_without_flaws(rooms: Path) -> None:
    batch = next(batches(rooms, flaws=0.0))
    assert torch.equal(batch["image"], batch["plain"])
    flawed = next(batches(rooms))
    assert not torch.equal(flawed["image"], flawed["plain"])
    assert torch.equal(flawed["plain"], batch["plain"])


def test_every_dataset_keeps_its_own_frames(rooms: Path, tmp_path: Path) -> None:
    """The second dataset's pictures are dark, the first one's are not."""
    import cv2

    dark = tmp_path / "dark"
    (dark / "frames").mkdir(parents=True)
    for path in (rooms / "frames").iterdir():
        (dark / "frames" / path.name).write_bytes(path.read_bytes())
    for path in (dark / "frames").glob("*.color.jpg"):
        cv2.imwrite(str(path), np.zeros((48, 64, 3), np.uint8))
    (dark / "frames.jsonl").write_bytes((rooms / "frames.jsonl").read_bytes())
    both = ResidentRooms(Rooms([rooms, dark], (64, 48), True, flaws=0.0), CPU, workers=0)
    only_dark = next(both.batches([6, 11, 18], 3, (0,), 0))
    assert int(only_dark["image"].max()) < 10
    mixed = next(both.batches([5, 6], 2, (0,), 0))
    assert int(mixed["image"][0].max()) > 200
    assert int(mixed["image"][1].max()) < 10


def test_larger_frames_are_kept_larger_up_to_a_factor(rooms: Path) -> None:
    kept = ResidentRooms(Rooms([rooms], (32, 24), True), CPU, workers=0)
    assert kept._stores[0]["image"].shape == (6, 3, 36, 48)
    batch = next(kept.batches([0, 1], 2, (0,), 0))
    assert batch["image"].shape == (2, 3, 24, 32)


def test_a_device_without_room_is_said(rooms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(ParameterError, match="resident: cpu has no room for 6 frames of 64x48"):
        ResidentRooms(Rooms([rooms], (64, 48), True), CPU, workers=0)


def resident_config(iterations: int) -> TrainConfig:
    return replace(config(iterations), resident=True, recalibrate=1)


def test_training_from_the_device_learns_and_goes_on_as_if_not_killed(
    rooms: Path, tmp_path: Path
) -> None:
    whole = Trainer(resident_config(6), [rooms], [rooms], tmp_path / "whole", pretrained=None)
    whole.run()
    torn, stop = tmp_path / "torn", stop_after(3)
    first = Trainer(resident_config(6), [rooms], [rooms], torn, None, stop=stop)
    first.run()
    assert first.pacing.done == 3
    resumed = Trainer(resident_config(6), [rooms], [rooms], torn, pretrained=None)
    resumed.run()
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert rows[-1]["iteration"] == 6
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(value, resumed.network.state_dict()[name], msg=name)


def stop_after(count: int):
    """A `stop` of the trainer, which asks it twice a step."""
    asked = iter(range(10_000))
    return lambda: next(asked) >= 2 * count
