"""The tasks' losses; every one ignores pixels without truth, and is 0 where no pixel has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.manifest import NO_LABEL

_GRADIENT_SCALES = 4
_SLOPE_STEPS = (1, 3)
"""Distances in pixels over which slopes are taken: surfaces and their larger form."""


def depth_loss(log_depth: Tensor, truth: Tensor) -> Tensor:
    """Error of the log depth, of its shape, and of its edges.

    The shape's error is what is left once each image's own scale is right, so that the doubt about
    a scene's scale does not drown what its shape can teach; the edges' is that of the gradients at
    four scales.

    Args:
        log_depth: [B,1,h,w] natural log of metres at the canonical focal length.
        truth: [B,h,w] metres at the canonical focal length, NaN = unknown.
    """
    valid = is_known(truth)
    error = (log_depth[:, 0] - log_of(truth)) * valid
    scale = error.sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True).clamp(min=1)
    shape = (error - scale) * valid
    loss = (error.abs().sum() + shape.abs().sum()) / valid.sum().clamp(min=1)
    for level in range(_GRADIENT_SCALES):
        step = 2**level
        e, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        loss = loss + 0.25 * (_mean_step(e, v, 1) + _mean_step(e, v, 2))
    return loss


def slope_loss(log_depth: Tensor, truth: Tensor, focal_px: Tensor) -> Tensor:
    """1 - cosine of the angle between the normals that two depths imply (Hu et al., WACV 2019).

    The slope of a wall or a table is a hundredth of the step at an edge, so that `depth_loss`
    hardly sees a bumpy plane; as angles they count alike.

    Args:
        log_depth: [B,1,h,w] natural log of metres, at any focal length.
        truth: [B,h,w] metres, NaN = unknown.
        focal_px: [B] focal length in pixels of these maps.
    """
    terms = []
    for step in _SLOPE_STEPS:
        seen = _implied_normals(log_depth[:, 0], focal_px, step)
        true = _implied_normals(log_of(truth), focal_px, step)
        valid = is_known(truth)
        known = valid[:, :-step, :-step] & valid[:, step:, :-step] & valid[:, :-step, step:]
        terms.append(((1.0 - (seen * true).sum(1)) * known).sum() / known.sum().clamp(min=1))
    return torch.stack(terms).sum()


def normals_loss(normals: Tensor, truth: Tensor) -> Tensor:
    """1 - cosine of the angle between them.

    Args:
        normals: [B,3,h,w] of any length.
        truth: [B,3,h,w] unit, NaN = unknown.
    """
    valid = is_known(truth).all(1)
    cosine = (_unit(normals) * truth.nan_to_num(0.0)).sum(1)
    return ((1.0 - cosine) * valid).sum() / valid.sum().clamp(min=1)


def segmentation_loss(
    logits: Tensor,
    truth: Tensor,
    class_weight: Tensor | None = None,
    runner_up: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy.

    Args:
        logits: [B,K,h,w].
        truth: [B,h,w] class ids, `NO_LABEL` = unknown.
        class_weight: [K] or None.
        runner_up: [B,2,h,w] the second likeliest class and its share of the two in 255ths, or
            None.
    """
    if class_weight is None:
        class_weight = logits.new_ones(logits.shape[1])
    known = (truth != NO_LABEL).to(logits.dtype)
    first = truth.where(truth != NO_LABEL, 0)
    likelihoods = [(known, first)]
    if runner_up is not None and bool(runner_up[:, 1].any()):
        doubt = known * runner_up[:, 1] / 255.0
        second = runner_up[:, 0].long().where(doubt > 0.0, 0)
        likelihoods = [(known - doubt, first), (doubt, second)]
    loss, weight = logits.new_zeros(()), logits.new_zeros(())
    for share, target in likelihoods:
        each = F.cross_entropy(logits, target, class_weight, reduction="none", label_smoothing=0.05)
        loss = loss + (share * each).sum()
        weight = weight + (share * class_weight[target]).sum()
    # Not the library's own mean: that is 0/0 where nothing is labelled.
    return loss / weight.clamp(min=1e-6)


def boundary_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Class-balanced logistic loss (Xie & Tu, ICCV 2015).

    Args:
        logits: [B,1,h,w].
        truth: [B,h,w], 1 on boundaries, 0 elsewhere, -1 = unknown.
    """
    known = (truth >= 0)[:, None].to(logits.dtype)
    edge = (truth > 0.5)[:, None].to(logits.dtype)
    pixels = known.sum().clamp(min=1)
    positive = edge.sum() / pixels
    weight = known * torch.where(edge > 0.5, 1.0 - positive, positive)
    loss = F.binary_cross_entropy_with_logits(logits, edge, weight, reduction="sum")
    return loss / pixels


def is_known(truth: Tensor) -> Tensor:
    """Where a true depth or normal is one: unknown is NaN."""
    return ~truth.isnan()


def log_of(depth: Tensor) -> Tensor:
    """Natural log of a true depth in metres; some number where it is unknown.

    NaN would come through every mask: NaN times zero is NaN.
    """
    return depth.nan_to_num(1.0).clamp(min=1e-3).log()


def _mean_step(error: Tensor, valid: Tensor, dim: int) -> Tensor:
    """Mean |difference of neighbours along dim| where both are valid."""
    size = error.shape[dim] - 1
    both = valid.narrow(dim, 1, size) & valid.narrow(dim, 0, size)
    step = (error.narrow(dim, 1, size) - error.narrow(dim, 0, size)).abs()
    return (step * both).sum() / both.sum().clamp(min=1)


def _implied_normals(log_depth: Tensor, focal_px: Tensor, step: int) -> Tensor:
    """[B,3,h-step,w-step] unit normals, away from the camera, of a log depth [B,h,w].

    A point is z (x, y, 1), so its derivatives along a row and a column are z (g r + r') with g the
    slope of log z; their cross product needs no z. The principal point is taken to be the middle.
    """
    height, width = log_depth.shape[1:]
    corner = log_depth[:, :-step, :-step]
    across = (log_depth[:, :-step, step:] - corner) / step
    down = (log_depth[:, step:, :-step] - corner) / step
    pixel = (1.0 / focal_px)[:, None, None]
    x = (torch.arange(width - step, device=log_depth.device) - (width - 1) / 2) * pixel
    y = (torch.arange(height - step, device=log_depth.device) - (height - 1) / 2)[:, None] * pixel
    return _unit(torch.stack([-across, -down, x * across + y * down + pixel], 1))


def _unit(vectors: Tensor) -> Tensor:
    """[B,3,h,w] of length 1; the library's norm over a short axis is slow on a CPU."""
    square = (vectors * vectors).sum(1, keepdim=True)
    return vectors * square.clamp(min=1e-24).rsqrt()
