"""Losses: zero for the truth, blind to unknown pixels."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from pag_ros.training import losses  # noqa: E402


def test_depth_loss_of_the_truth_is_zero_and_unknown_pixels_do_not_count() -> None:
    truth = torch.rand(2, 12, 16) + 0.5
    truth[:, :3] = 0.0
    prediction = truth.clamp(min=1e-3).log()[:, None].clone()
    prediction[:, :, :3] = 100.0
    assert float(losses.depth_loss(prediction, truth)) == pytest.approx(0.0, abs=1e-6)


def test_depth_loss_of_a_constant_factor_is_its_logarithm() -> None:
    truth = torch.full((1, 12, 16), 2.0)
    prediction = truth.log()[:, None] + math.log(1.3)
    assert float(losses.depth_loss(prediction, truth)) == pytest.approx(math.log(1.3), rel=1e-5)


def test_depth_loss_sees_a_blurred_edge_beyond_its_mean_error() -> None:
    truth = torch.ones(1, 16, 16)
    truth[:, :, 8:] = 2.0
    shifted = torch.roll(truth, 1, 2).log()[:, None]
    shifted[..., 0] = 0.0
    mean_error = float((shifted[:, 0] - truth.log()).abs().mean())
    assert float(losses.depth_loss(shifted, truth)) > 1.5 * mean_error


def test_normals_loss_is_one_minus_cosine_whatever_the_length() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    truth[:, 2] = -1.0
    truth[:, :, 0] = 0.0
    tilted = torch.zeros(1, 3, 4, 4)
    tilted[:, 2], tilted[:, 1] = -5.0, 5.0
    assert float(losses.normals_loss(tilted, truth)) == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


def test_segmentation_loss_ignores_unlabelled_pixels() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1] = 4.0
    truth = torch.tensor([[[1, 1], [255, 255]]])
    some = losses.segmentation_loss(logits, truth)
    every = losses.segmentation_loss(logits, torch.ones(1, 2, 2, dtype=torch.long))
    assert torch.isclose(some, every)


def test_boundary_loss_weighs_rare_edges_as_much_as_the_rest() -> None:
    truth = torch.zeros(1, 10, 10)
    truth[:, 5] = 1.0
    missed = losses.boundary_loss(torch.full((1, 1, 10, 10), -3.0), truth)
    invented = losses.boundary_loss(torch.full((1, 1, 10, 10), 3.0), truth)
    assert float(missed) == pytest.approx(float(invented), rel=1e-4)
