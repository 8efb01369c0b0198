"""The tasks' losses; every one ignores pixels without truth (gating.md, section 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

IGNORE_LABEL = 255
_GRADIENT_SCALES = 4


def depth_loss(log_depth: Tensor, truth: Tensor) -> Tensor:
    """Error of the log depth, of its shape, and of its edges.

    The shape's error is what is left once each image's own scale is right, so that the doubt about
    a scene's scale does not drown what its shape can teach; the edges' is that of the gradients at
    four scales.

    Args:
        log_depth: [B,1,h,w] natural log of metres at the canonical focal length.
        truth: [B,h,w] metres at the canonical focal length, 0 = unknown.
    """
    valid = truth > 0
    error = (log_depth[:, 0] - truth.clamp(min=1e-3).log()) * valid
    scale = error.sum((1, 2), keepdim=True) / valid.sum((1, 2), keepdim=True).clamp(min=1)
    shape = (error - scale) * valid
    loss = (error.abs().sum() + shape.abs().sum()) / valid.sum().clamp(min=1)
    for level in range(_GRADIENT_SCALES):
        step = 2**level
        e, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        loss = loss + 0.25 * (_mean_step(e, v, 1) + _mean_step(e, v, 2))
    return loss


def normals_loss(normals: Tensor, truth: Tensor) -> Tensor:
    """1 - cosine of the angle between them.

    Args:
        normals: [B,3,h,w] of any length.
        truth: [B,3,h,w] unit, 0 = unknown.
    """
    valid = truth.abs().sum(1) > 0.5
    cosine = (F.normalize(normals, dim=1) * truth).sum(1)
    return ((1.0 - cosine) * valid).sum() / valid.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, truth: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy.

    Args:
        logits: [B,K,h,w].
        truth: [B,h,w] class ids, 255 = unknown.
        class_weight: [K] or None.
    """
    return F.cross_entropy(
        logits, truth, class_weight, ignore_index=IGNORE_LABEL, label_smoothing=0.05
    )


def boundary_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Class-balanced logistic loss (Xie & Tu, ICCV 2015).

    Args:
        logits: [B,1,h,w].
        truth: [B,h,w], 1 on boundaries, 0 elsewhere.
    """
    truth = truth[:, None].to(logits.dtype)
    positive = truth.mean()
    weight = torch.where(truth > 0.5, 1.0 - positive, positive)
    return F.binary_cross_entropy_with_logits(logits, truth, weight)


def _mean_step(error: Tensor, valid: Tensor, dim: int) -> Tensor:
    """Mean |difference of neighbours along dim| where both are valid."""
    size = error.shape[dim] - 1
    both = valid.narrow(dim, 1, size) & valid.narrow(dim, 0, size)
    step = (error.narrow(dim, 1, size) - error.narrow(dim, 0, size)).abs()
    return (step * both).sum() / both.sum().clamp(min=1)
