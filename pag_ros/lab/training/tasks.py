"""What every head is trained and scored on: its truth, reduced to the size of its output.

A batch may lack the truth of any head, or know it at some pixels only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.lab.model.network import CANONICAL_FOCAL
from pag_ros.lab.training import losses
from pag_ros.manifest import NO_LABEL

TRUTH = {
    "depth": "depth",
    "normals": "normals",
    "segmentation": "labels",
    "boundary": "boundary",
}
"""Head -> entry of a batch."""


def task_losses(
    outputs: dict[str, Tensor], batch: dict[str, Tensor], class_weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The loss of every head that the network has, against truth reduced to the outputs' size.

    Args:
        outputs: of the network.
        batch: see `Rooms`; where it lacks a head's truth, that head's loss is 0.
        class_weight: [classes] of the segmentation loss, or None.
    """
    terms: dict[str, Tensor] = {}
    for head, value in outputs.items():
        output = value.float()
        if TRUTH[head] not in batch:
            # Still a part of the graph: every process of several must find all gradients.
            terms[head] = 0.0 * output.sum()
            continue
        truth = _truth(head, batch, (output.shape[2], output.shape[3]))
        if head == "segmentation":
            runner_up = _runner_up(batch, truth.shape[1:])
            terms[head] = losses.segmentation_loss(output, truth, class_weight, runner_up)
        else:
            terms[head] = _LOSSES[head](output, truth)
        if head == "depth":
            focal_px = batch["focal_px"] * output.shape[3] / batch["image"].shape[3]
            terms[head] = terms[head] + losses.slope_loss(output, truth, focal_px)
    return terms


def known_samples(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Head -> [B] bool: the samples of which at least one pixel has truth."""
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "depth": losses.is_known,
        "normals": losses.is_known,
        "segmentation": lambda truth: truth != NO_LABEL,
        "boundary": lambda truth: truth >= 0,
    }
    return {
        head: known[head](batch[entry]).flatten(1).any(1)
        if entry in batch
        else torch.zeros(len(batch["image"]), dtype=torch.bool, device=batch["image"].device)
        for head, entry in TRUTH.items()
    }


def known_heads(batch: dict[str, Tensor]) -> set[str]:
    """The heads for which at least one pixel of the batch has truth."""
    return {head for head, known in known_samples(batch).items() if known.any()}


def canonical_depth(batch: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """True depth [B,h,w] as a camera of canonical focal length would see it, NaN = unknown."""
    depth = F.interpolate(batch["depth"][:, None], size=size)[:, 0]
    scale = CANONICAL_FOCAL * batch["image"].shape[3] / batch["focal_px"]
    return depth * scale[:, None, None]


def task_scores(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return depth's delta1 and the labels' pixel accuracy: quick scores for the log.

    A head without any truth in the batch has no score.
    """
    scores: dict[str, Tensor] = {}
    known = known_heads(batch)
    if "depth" in outputs and "depth" in known:
        truth = _truth("depth", batch, _size(outputs["depth"]))
        error = (outputs["depth"][:, 0] - losses.log_of(truth)).abs()[losses.is_known(truth)]
        scores["delta1"] = (error < math.log(1.25)).float().mean()
    if "segmentation" in outputs and "segmentation" in known:
        labels = _truth("segmentation", batch, _size(outputs["segmentation"]))
        right = outputs["segmentation"].argmax(1) == labels
        scores["pixel_accuracy"] = right[labels != NO_LABEL].float().mean()
    # The few known pixels may all fall through the reduction.
    return {name: score for name, score in scores.items() if score.isfinite()}


_LOSSES = {
    "depth": losses.depth_loss,
    "normals": losses.normals_loss,
    "boundary": losses.boundary_loss,
}


def _truth(head: str, batch: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    if head == "depth":
        return canonical_depth(batch, size)
    if head == "normals":
        return F.interpolate(batch["normals"], size=size)
    if head == "segmentation":
        return F.interpolate(batch["labels"][:, None].float(), size=size)[:, 0].long()
    # The maximum: an edge is thinner than a pixel of the output, and known beats unknown (-1).
    return F.adaptive_max_pool2d(batch["boundary"][:, None], list(size))[:, 0]


def _runner_up(batch: dict[str, Tensor], size: torch.Size) -> Tensor | None:
    if "runner_up" not in batch:
        return None
    return F.interpolate(batch["runner_up"].float(), size=list(size))


def _size(output: Tensor) -> tuple[int, int]:
    return output.shape[2], output.shape[3]
