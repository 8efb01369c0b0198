"""Losses: zero for the truth, blind to unknown pixels."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.training import losses  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402

NAN = float("nan")


def test_depth_loss_of_the_truth_is_zero_and_unknown_pixels_do_not_count() -> None:
    truth = torch.rand(2, 12, 16) + 0.5
    truth[:, :3] = NAN
    prediction = truth.log()[:, None].clone()
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


def _plane(normal: tuple[float, float, float], focal_px: float) -> torch.Tensor:
    """[1,24,32] depth of a plane two metres away, the principal point in the middle."""
    x = (torch.arange(32) - 15.5) / focal_px
    y = (torch.arange(24)[:, None] - 11.5) / focal_px
    return 2.0 / (normal[0] * x + normal[1] * y + normal[2])[None]


def test_slope_loss_is_the_angle_between_planes_at_any_scale() -> None:
    focal_px = torch.tensor([30.0])
    level, tilted = _plane((0.0, 0.0, 1.0), 30.0), _plane((0.6, 0.0, 0.8), 30.0)
    same = losses.slope_loss((1.7 * tilted).log()[:, None], tilted, focal_px)
    other = losses.slope_loss(level.log()[:, None], tilted, focal_px)
    assert float(same) == pytest.approx(0.0, abs=1e-5)
    assert float(other) == pytest.approx(2 * (1.0 - 0.8), abs=0.02)  # at two distances


def test_slope_loss_leaves_out_what_has_no_truth() -> None:
    truth = _plane((0.0, 0.6, 0.8), 30.0)
    prediction = truth.log()[:, None].clone()
    truth[:, 8:12], prediction[:, :, 8:12] = NAN, 5.0
    assert float(losses.slope_loss(prediction, truth, torch.tensor([30.0]))) < 1e-5


def test_normals_loss_is_one_minus_cosine_whatever_the_length() -> None:
    truth = torch.zeros(1, 3, 4, 4)
    truth[:, 2] = -1.0
    truth[:, :, 0] = NAN
    tilted = torch.zeros(1, 3, 4, 4)
    tilted[:, 2], tilted[:, 1] = -5.0, 5.0
    assert float(losses.normals_loss(tilted, truth)) == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


def test_segmentation_loss_ignores_unlabelled_pixels() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1] = 4.0
    truth = torch.tensor([[[1, 1], [NO_LABEL, NO_LABEL]]])
    some = losses.segmentation_loss(logits, truth)
    every = losses.segmentation_loss(logits, torch.ones(1, 2, 2, dtype=torch.long))
    assert torch.isclose(some, every)


def test_the_runner_up_takes_its_share_of_the_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 2)
    truth = torch.tensor([[[1, 0], [2, NO_LABEL]]])
    runner_up = torch.zeros(1, 2, 2, 2)
    runner_up[0, :, 0, 0] = torch.tensor([2.0, 51.0])  # a fifth
    runner_up[0, :, 1, 1] = torch.tensor([2.0, 255.0])  # of a pixel that is unknown
    weight = torch.tensor([1.0, 2.0, 3.0])

    def alone(row: int, column: int, label: int) -> float:
        truth = torch.full((1, 2, 2), NO_LABEL)
        truth[0, row, column] = label
        return float(losses.segmentation_loss(logits, truth, weight)) * float(weight[label])

    terms = [0.8 * alone(0, 0, 1), 0.2 * alone(0, 0, 2), alone(0, 1, 0), alone(1, 0, 2)]
    expected = sum(terms) / (0.8 * 2.0 + 0.2 * 3.0 + 1.0 + 3.0)
    loss = losses.segmentation_loss(logits, truth, weight, runner_up)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_boundary_loss_weighs_rare_edges_as_much_as_the_rest() -> None:
    truth = torch.zeros(1, 10, 10)
    truth[:, 5] = 1.0
    missed = losses.boundary_loss(torch.full((1, 1, 10, 10), -3.0), truth)
    invented = losses.boundary_loss(torch.full((1, 1, 10, 10), 3.0), truth)
    assert float(missed) == pytest.approx(float(invented), rel=1e-4)


def test_boundary_loss_ignores_unknown_pixels() -> None:
    truth = torch.zeros(1, 10, 10)
    truth[:, 5] = 1.0
    logits = torch.randn(1, 1, 10, 10)
    known = losses.boundary_loss(logits[..., :6], truth[..., :6])
    truth[..., 6:] = -1.0
    assert float(losses.boundary_loss(logits, truth)) == pytest.approx(float(known), rel=1e-5)


def test_class_weights_move_the_loss_to_the_class_they_stress() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[:, 0] = 3.0  # right for the first pixel, wrong for the second
    truth = torch.tensor([[[0, 1]]])
    equal = losses.segmentation_loss(logits, truth, torch.tensor([1.0, 1.0]))
    stressed = losses.segmentation_loss(logits, truth, torch.tensor([1.0, 3.0]))
    assert torch.isclose(equal, losses.segmentation_loss(logits, truth))
    assert float(stressed) > float(equal)


@pytest.mark.parametrize(
    ("loss", "channels", "truth"),
    [
        (losses.depth_loss, 1, torch.full((2, 8, 8), NAN)),
        (losses.normals_loss, 3, torch.full((2, 3, 8, 8), NAN)),
        (losses.segmentation_loss, 4, torch.full((2, 8, 8), NO_LABEL)),
        (losses.boundary_loss, 1, torch.full((2, 8, 8), -1.0)),
    ],
)
def test_without_any_truth_loss_and_gradient_are_zero(
    loss: object, channels: int, truth: torch.Tensor
) -> None:
    output = torch.randn(2, channels, 8, 8, requires_grad=True)
    value = loss(output, truth)
    value.backward()
    assert float(value.detach()) == 0.0
    assert bool((output.grad == 0).all())
