"""Score a trained method on validation frames, and count what it spends there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import default_collate

from pag_ros.evaluation.metrics import TaskScores
from pag_ros.lab.baselines.costs import spending
from pag_ros.lab.baselines.finetune import to_input
from pag_ros.lab.baselines.methods import Method, realised_budget
from pag_ros.lab.model.network import metric_depth
from pag_ros.lab.results.runs import METRICS
from pag_ros.lab.training.rooms import Rooms

BATCH = 20
"""Images among which methods that spend unequally may share (`skipping`, `halting`)."""


@dataclass(frozen=True)
class MethodScores:
    """Scores and multiply-adds, as in `lab.results.runs.RunResult`."""

    scores: dict[str, float]
    macs: dict[str, float]
    realised_budget: float


@torch.no_grad()
def score(
    method: Method,
    budget: float,
    folders: list[Path],
    size: tuple[int, int],
    limit: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> MethodScores:
    """Run a trained method over validation frames.

    Args:
        method: in evaluation mode.
        budget: its own, or any where it serves every budget.
        folders: rendered datasets.
        size: (width, height) at which outputs are compared with the truth; a smaller input's
            outputs are enlarged to it.
        limit: so many frames, evenly spread over all; None for all.
        progress: called after every batch.
    """
    truth, inputs = Rooms(folders, size, train=False), Rooms(folders, method.size, train=False)
    scores = TaskScores(method.network.config.classes)
    parts: dict[str, list[Tensor]] = {"total": [], "gates": [], "gated": [], "interpolation": []}
    for keys in _batches(len(truth), limit):
        batch = default_collate([truth[key] for key in keys])
        images = batch if method.size == size else default_collate([inputs[key] for key in keys])
        gating = method.inference(budget)
        outputs = method.network(to_input(images["image"], method.device), gating)
        _add_scores(scores, outputs, batch, size)
        spent = spending(gating, method.costs)
        for name, values in parts.items():
            values.append(getattr(spent, name).expand(len(keys)))
        progress()
    return _outcome(method, scores, {name: torch.cat(values) for name, values in parts.items()})


def batch_count(frames: int, limit: int | None) -> int:
    """How often `score` calls its progress."""
    return len(list(_batches(frames, limit)))


def _batches(frames: int, limit: int | None) -> Iterator[list[int]]:
    """Keys in batches; neighbours in the data set, often of one room, land in different ones."""
    count = min(frames, limit or frames)
    keys = [i * frames // count for i in range(count)]
    batches = -(-count // BATCH)
    yield from (keys[start::batches] for start in range(batches))


def _add_scores(
    scores: TaskScores, outputs: dict[str, Tensor], batch: dict[str, Tensor], size: tuple[int, int]
) -> None:
    width, height = size
    full = {
        name: F.interpolate(value.cpu(), size=(height, width), mode="bilinear", align_corners=False)
        for name, value in outputs.items()
    }
    if "depth" in full:
        depth = metric_depth(full["depth"], batch["focal_px"], width)
        for one, true in zip(depth[:, 0].numpy(), batch["depth"].numpy(), strict=True):
            scores.add_depth(one, true)
    if "normals" in full:
        for got, true in zip(full["normals"], batch["normals"], strict=True):
            scores.add_normals(got.permute(1, 2, 0).numpy(), true.permute(1, 2, 0).numpy())
    if "segmentation" in full:
        labels = full["segmentation"].argmax(1).numpy().astype(np.uint8)
        for one, true in zip(labels, batch["labels"].numpy().astype(np.uint8), strict=True):
            scores.add_labels(one, true)


def _outcome(method: Method, scores: TaskScores, parts: dict[str, Tensor]) -> MethodScores:
    tasks = scores.scores()
    by_key = {f"{task} {name}": v for task, values in tasks.items() for name, v in values.items()}
    mean = {name: float(values.double().mean()) for name, values in parts.items()}
    low, high = np.percentile(parts["total"].numpy(), (5, 95))
    total = mean.pop("total")
    return MethodScores(
        scores={m.key: round(by_key[m.key], 6) for m in METRICS if m.key in by_key},
        macs={
            "mean": total,
            "p5": float(low),
            "p95": float(high),
            "dense": float(method.costs.dense),
            **mean,
        },
        realised_budget=round(
            realised_budget(total, mean["gates"], mean["interpolation"], method.full), 6
        ),
    )
