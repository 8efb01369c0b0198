"""What a small budget learns from the full one (gating.md, section 3)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def distillation_losses(
    outputs: dict[str, Tensor], teacher: dict[str, Tensor]
) -> dict[str, Tensor]:
    """How far the outputs are from the teacher's: 0 where they are equal.

    Soft labels: the KL divergence of the classes, and of the boundary's two; |difference| of the
    log depth; 1 - cosine of the normals. Each is a mean over all pixels, labelled or not.

    Args:
        outputs: of a `PagNetwork`.
        teacher: of the same heads, in float32 and without a gradient.
    """
    terms: dict[str, Tensor] = {}
    for head, target in teacher.items():
        output = outputs[head].float()
        if head == "depth":
            terms[head] = (output - target).abs().mean()
        elif head == "normals":
            terms[head] = 1.0 - F.cosine_similarity(output, target, dim=1).mean()
        elif head == "segmentation":
            divergence = F.kl_div(output.log_softmax(1), target.softmax(1), reduction="none")
            terms[head] = divergence.sum(1).mean()
        else:
            terms[head] = _binary_divergence(output, target)
    return terms


def _binary_divergence(output: Tensor, target: Tensor) -> Tensor:
    probability = target.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(target, probability)
    return F.binary_cross_entropy_with_logits(output, probability) - entropy
