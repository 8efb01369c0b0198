"""What every head is trained and scored on: its truth, reduced to the size of its output."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.model.network import CANONICAL_FOCAL
from pag_ros.training import losses


def task_losses(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss of every head that the network has, against truth reduced to the outputs' size."""
    size = next(iter(outputs.values())).shape[2:]
    outputs = {name: value.float() for name, value in outputs.items()}
    terms: dict[str, Tensor] = {}
    if "depth" in outputs:
        terms["depth"] = losses.depth_loss(outputs["depth"], canonical_depth(batch, size))
    if "normals" in outputs:
        truth = F.interpolate(batch["normals"], size=size)
        terms["normals"] = losses.normals_loss(outputs["normals"], truth)
    if "segmentation" in outputs:
        labels = F.interpolate(batch["labels"][:, None].float(), size=size)[:, 0].long()
        terms["segmentation"] = losses.segmentation_loss(outputs["segmentation"], labels)
    if "boundary" in outputs:
        truth = F.adaptive_max_pool2d(batch["boundary"][:, None], list(size))[:, 0]
        terms["boundary"] = losses.boundary_loss(outputs["boundary"], truth)
    return terms


def canonical_depth(batch: dict[str, Tensor], size: torch.Size) -> Tensor:
    """True depth [B,h,w] as a camera of canonical focal length would see it, 0 = unknown."""
    depth = F.interpolate(batch["depth"][:, None], size=size)[:, 0]
    scale = CANONICAL_FOCAL * batch["image"].shape[3] / batch["focal_px"]
    return depth * scale[:, None, None]


def task_scores(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """delta1 of the depth and pixel accuracy of the labels: quick scores for the log."""
    scores: dict[str, Tensor] = {}
    if "depth" in outputs:
        truth = canonical_depth(batch, outputs["depth"].shape[2:])
        valid = truth > 0
        error = (outputs["depth"][:, 0] - truth.clamp(min=1e-3).log()).abs()[valid]
        scores["delta1"] = (error < math.log(1.25)).float().mean()
    if "segmentation" in outputs:
        size = outputs["segmentation"].shape[2:]
        labels = F.interpolate(batch["labels"][:, None].float(), size=size)[:, 0].long()
        right = outputs["segmentation"].argmax(1) == labels
        scores["pixel_accuracy"] = right[labels != losses.IGNORE_LABEL].float().mean()
    return scores
