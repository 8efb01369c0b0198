"""A head for labels learns from labelled pictures; the network that it reads stays as it is.

In half of the steps the network computes every patch, in the others as many as a budget drawn anew
allows, so that labels hold at every budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import SegmentationScores
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.training.losses import segmentation_loss
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, normalised
from pag_ros.lab.transformers.label_head import LabelHead
from pag_ros.lab.transformers.labelled_pictures import LabelledPictures
from pag_ros.lab.transformers.labels import new_head
from pag_ros.lab.transformers.vit import PATCH

SHOWN_BUDGETS = (1.0, 0.5, 0.3)
"""That the scores are told at."""

_DECAY = 0.01
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class LabelLesson:
    """How labels are taught.

    Attributes:
        minutes: the clock ends it, after one step at least.
        steps: at most so many; None: as many as there is time for.
        batch: pictures of a step.
        rate: learning rate at the start; falls to 0 along a cosine.
        lowest: budget of the steps that leave patches out.
        seed: of everything random.

    Raises:
        ParameterError: a value is outside what it may be.
    """

    minutes: float = 20.0
    steps: int | None = None
    batch: int = 4
    rate: float = 1e-3
    lowest: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.minutes <= 1e5:
            raise ParameterError(f"minutes must lie above 0, up to 100000, got {self.minutes:g}")


@dataclass(frozen=True)
class LabelsTaught:
    """What came of it: scores at budgets, on pictures held back; steps that it took."""

    scores: Mapping[float, Mapping[str, float]]
    steps: int

    def line(self) -> str:
        """For people."""
        each = (
            f"at {budget:g} {scores['pixel_accuracy']:.3f} / {scores['mIoU']:.3f}"
            for budget, scores in self.scores.items()
        )
        return "labels, pixels right / mIoU: " + ", ".join(each)


def teach_labels(
    network: GatedDepthAnything,
    classes: Sequence[str],
    pictures: LabelledPictures,
    held_back: LabelledPictures,
    lesson: LabelLesson | None = None,
    progress: Callable[[float, float], None] = lambda share, loss: None,
    stop: Callable[[], bool] = lambda: False,
) -> LabelsTaught:
    """Give a network a head for labels, and teach it; no other weight changes.

    Args:
        network: in evaluation mode.
        classes: names of the class ids.
        pictures, held_back: to learn from, and to measure on; sides whole multiples of `PATCH`.
        progress: called after each step with the share that is done and the loss.
        stop: asked after each step; what was learned so far is then kept.
    """
    lesson = lesson or LabelLesson()
    torch.manual_seed(lesson.seed)
    head = new_head(network, classes).train()
    steps = _learn(network, head, pictures, lesson, progress, stop)
    network.label_head = head.eval()
    return LabelsTaught({b: label_scores(network, held_back, b) for b in SHOWN_BUDGETS}, steps)


@torch.no_grad()
def label_scores(
    network: GatedDepthAnything, pictures: LabelledPictures, budget: float
) -> dict[str, float]:
    """Scores of `SegmentationScores` of a network with a head, at a budget."""
    head = network.label_head
    assert head is not None
    scores = SegmentationScores(len(head.classes))
    for image, labels in zip(pictures.images, pictures.labels, strict=True):
        logits = head(_features(network, image[None], budget))
        scores.add(_at(logits, labels.shape)[0].argmax(0).byte().numpy(), labels.numpy())
    return scores.scores()


def _learn(
    network: GatedDepthAnything,
    head: LabelHead,
    pictures: LabelledPictures,
    lesson: LabelLesson,
    progress: Callable[[float, float], None],
    stop: Callable[[], bool],
) -> int:
    """Take steps until the lesson is over; returns how many."""
    optimizer = torch.optim.AdamW(head.parameters(), lesson.rate, weight_decay=_DECAY)
    began, share, steps = time.monotonic(), 0.0, 0
    while share < 1.0 and not (steps and stop()):
        for group in optimizer.param_groups:
            group["lr"] = lesson.rate * 0.5 * (1.0 + math.cos(math.pi * share))
        batch = _mirrored(pictures.at(torch.randint(len(pictures), (lesson.batch,))))
        loss = _loss(network, head, batch, _drawn_budget(lesson))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        steps += 1
        share = (time.monotonic() - began) / (60.0 * lesson.minutes)
        share = min(1.0, share if lesson.steps is None else max(share, steps / lesson.steps))
        progress(share, float(loss.detach()))
    return steps


def _drawn_budget(lesson: LabelLesson) -> float:
    every, drawn = torch.rand(2).tolist()
    return 1.0 if every < 0.5 else lesson.lowest + (1.0 - lesson.lowest) * float(drawn)


def _mirrored(batch: LabelledPictures) -> LabelledPictures:
    """Half of the times."""
    if float(torch.rand(())) < 0.5:
        return batch
    return LabelledPictures(batch.images.flip(3), batch.labels.flip(2), batch.runner_up.flip(3))


def _loss(
    network: GatedDepthAnything, head: LabelHead, batch: LabelledPictures, budget: float
) -> Tensor:
    features = _features(network, batch.images, budget)
    with fast_arithmetic(batch.images.device):
        logits = head(features)
    large = _at(logits.float(), batch.labels.shape[1:])
    return segmentation_loss(large, batch.labels.long(), runner_up=batch.runner_up)


@torch.no_grad()
def _features(network: GatedDepthAnything, images: Tensor, budget: float) -> list[Tensor]:
    """[B,C,h,w] of each tapped block, of pictures [B,3,H,W] uint8."""
    patches = (images.shape[2] // PATCH) * (images.shape[3] // PATCH)
    keep = None if budget >= 1.0 else [max(1, count) for count in network.keep_for(budget, patches)]
    with fast_arithmetic(images.device):
        features = network.pretrained(normalised(images.float() / 255.0), keep)
    return [feature.float() for feature in features]


def _at(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits [B,K,h,w] at another size, as the robot enlarges them."""
    return F.interpolate(logits, (size[0], size[1]), mode="bilinear", align_corners=False)
