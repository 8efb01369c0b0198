"""The tasks' losses; every one ignores pixels without truth (gating.md, section 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

IGNORE_LABEL = 255
_GRADIENT_SCALES = 4


def depth_loss(log_depth: Tensor, truth: Tensor) -> Tensor:
    """Log depth: absolute error, plus the error of its gradients at four scales (sharp edges).

    Args:
        log_depth: [B,1,h,w] natural log of metres at the canonical focal length.
        truth: [B,h,w] metres at the canonical focal length, 0 = unknown.
    """
    valid = truth > 0
    error = (log_depth[:, 0] - truth.clamp(min=1e-3).log()) * valid
    loss = error.abs().sum() / valid.sum().clamp(min=1)
    for scale in range(_GRADIENT_SCALES):
        step = 2**scale
        e, v = error[:, ::step, ::step], valid[:, ::step, ::step]
        loss = loss + 0.25 * (_mean_step(e, v, 1) + _mean_step(e, v, 2))
    return loss


def normals_loss(normals: Tensor, truth: Tensor) -> Tensor:
    """1 - cosine. Args: [B,3,h,w] prediction of any length; truth unit, 0 = unknown."""
    valid = truth.abs().sum(1) > 0.5
    cosine = (F.normalize(normals, dim=1) * truth).sum(1)
    return ((1.0 - cosine) * valid).sum() / valid.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, truth: Tensor, class_weight: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy. Args: [B,K,h,w] logits; truth [B,h,w] class ids, 255 = unknown."""
    return F.cross_entropy(
        logits, truth, class_weight, ignore_index=IGNORE_LABEL, label_smoothing=0.05
    )


def boundary_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Class-balanced logistic loss (Xie & Tu 2015). Args: [B,1,h,w] logits; [B,h,w] truth, 0 or 1."""
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
