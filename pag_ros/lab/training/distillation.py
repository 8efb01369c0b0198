"""What a network learns from another: a small budget from the full one, a run from its start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def distillation_losses(
    outputs: dict[str, Tensor],
    teacher: dict[str, Tensor],
    samples: Mapping[str, Tensor] | None = None,
    scale_free: bool = False,
) -> dict[str, Tensor]:
    """How far the outputs are from the teacher's: 0 where they are equal.

    Soft labels: the KL divergence of the classes, and of the boundary's two; |difference| of the
    log depth; 1 - cosine of the normals. Each is a mean over all pixels, labelled or not, of the
    samples that count.

    Args:
        outputs: of a `PagNetwork`.
        teacher: of the same heads, in float32 and without a gradient.
        samples: head -> [B] bool, the samples that count; None for all.
        scale_free: the depth of each picture is first brought to the teacher's scale.
    """
    terms: dict[str, Tensor] = {}
    for head, target in teacher.items():
        output = outputs[head].float()
        if head == "depth":
            distance = _log_difference(output, target, scale_free).abs()
        elif head == "normals":
            distance = 1.0 - F.cosine_similarity(output, target, dim=1)
        elif head == "segmentation":
            divergence = F.kl_div(output.log_softmax(1), target.softmax(1), reduction="none")
            distance = divergence.sum(1)
        else:
            distance = _binary_divergence(output, target)
        each = distance.flatten(1).mean(1)
        counts = torch.ones_like(each) if samples is None else samples[head].to(each.dtype)
        terms[head] = (each * counts).sum() / counts.sum().clamp(min=1.0)
    return terms


def _log_difference(output: Tensor, target: Tensor, scale_free: bool) -> Tensor:
    difference = output - target
    return difference - difference.mean((1, 2, 3), keepdim=True) if scale_free else difference


def _binary_divergence(output: Tensor, target: Tensor) -> Tensor:
    probability = target.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(target, probability, reduction="none")
    return F.binary_cross_entropy_with_logits(output, probability, reduction="none") - entropy
