"""Batches at several sizes: what is seen stays the same, as far as the sizes say so."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.training.config import TrainConfig  # noqa: E402
from pag_ros.lab.training.scales import at_scale, drawn_scale  # noqa: E402
from pag_ros.lab.training.tasks import canonical_depth  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402


def batch() -> dict[str, torch.Tensor]:
    """Two pictures of two halves each: a known near one, an unknown one."""
    left = torch.arange(64).expand(2, 48, 64) < 32
    normals = torch.full((2, 3, 48, 64), float("nan"))
    normals[:, :, :, :32] = torch.tensor([0.0, 0.6, -0.8])[None, :, None, None]
    return {
        "image": (left[:, None].expand(2, 3, 48, 64) * 200).to(torch.uint8),
        "plain": torch.zeros(2, 3, 48, 64, dtype=torch.uint8),
        "depth": torch.where(left, 2.0, float("nan")),
        "normals": normals,
        "labels": torch.where(left, 3, NO_LABEL),
        "runner_up": torch.full((2, 2, 48, 64), 7, dtype=torch.uint8),
        "boundary": torch.where(left, 0.0, -1.0),
        "focal_px": torch.tensor([50.0, 60.0]),
    }


@pytest.mark.parametrize(("scale", "size"), [(0.5, (24, 32)), (0.8, (40, 48)), (1.5, (72, 96))])
def test_pictures_and_truths_come_to_the_same_size(scale: float, size: tuple[int, int]) -> None:
    scaled = at_scale(batch(), scale, 0.0)
    assert {k: v.shape[-2:] for k, v in scaled.items() if k != "focal_px"} == dict.fromkeys(
        set(batch()) - {"focal_px"}, size
    )
    assert {k: v.shape[:-2] for k, v in scaled.items()} == {
        k: v.shape[:-2] for k, v in batch().items()
    }
    assert scaled["labels"].dtype == torch.long
    assert set(scaled["labels"].unique().tolist()) == {3, NO_LABEL}
    half = size[1] // 2
    assert (scaled["depth"][..., :half] == 2.0).all()
    assert scaled["depth"][..., half:].isnan().all()
    assert torch.allclose(scaled["normals"][0, :, 0, 0], torch.tensor([0.0, 0.6, -0.8]))
    assert scaled["image"][0, 0, 0, [0, -1]].tolist() == [200.0, 0.0]
    assert scaled["focal_px"].tolist() == pytest.approx([50 * size[1] / 64, 60 * size[1] / 64])


def test_at_the_size_of_the_phase_nothing_changes() -> None:
    given = batch()
    assert at_scale(given, 1.0, 0.6) is given


def test_a_smaller_picture_is_seen_as_much_farther_as_the_exponent_says() -> None:
    whole = canonical_depth(batch(), (6, 8))
    alike = canonical_depth(at_scale(batch(), 0.5, 0.0), (6, 8))
    farther = canonical_depth(at_scale(batch(), 0.5, 0.6), (6, 8))
    assert torch.equal(whole.isnan(), alike.isnan())
    assert torch.allclose(alike.nan_to_num(), whole.nan_to_num())
    assert torch.allclose(farther.nan_to_num(), whole.nan_to_num() * 2.0**0.6)


def test_every_scale_is_drawn_and_an_iteration_always_gets_the_same() -> None:
    config = TrainConfig(scales=(1.0, 0.8, 0.5), seed=3)
    drawn = [drawn_scale(config, iteration) for iteration in range(100)]
    assert set(drawn) == {1.0, 0.8, 0.5}
    assert drawn == [drawn_scale(config, iteration) for iteration in range(100)]
    assert drawn != [drawn_scale(TrainConfig(scales=(1.0, 0.8, 0.5)), i) for i in range(100)]
