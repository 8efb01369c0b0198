"""Fine-tune a method: the same loop, samples, learning rate and seeds for every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pag_ros.lab.baselines.methods import Method
from pag_ros.lab.model.multipool import MultiPool
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.training.refusals import RefusedSteps, find_spoilt
from pag_ros.lab.training.rooms import EndlessSampler, Rooms
from pag_ros.lab.training.tasks import task_losses

_WEIGHTS = {"depth": 1.0, "normals": 1.0, "segmentation": 0.5, "boundary": 0.5}
"""Weights of the tasks' losses, as in `TrainConfig`."""

_FINAL_SHARE = 0.2
"""The last iterations train what is scored: no noise, fixed normalisation statistics."""

_FROZEN_BLOCKS = 3
_FINAL_RATE = 0.05
"""Learning rate at the end, relative to that at the start."""
_FINAL_TEMPERATURE = 0.2
"""Temperature of MultiPool's choice, which the starting network has learned already."""


@dataclass(frozen=True)
class Recipe:
    """What every method of a comparison is given.

    Attributes:
        size: (width, height) of the pictures.
        iterations, batch: steps, and samples in each.
        learning_rate: at the start; falls along a cosine. The encoder's is a fraction of it.
        encoder_rate: that fraction.
        seed: of samples, augmentation, noise and patterns.
    """

    size: tuple[int, int]
    iterations: int
    batch: int = 8
    learning_rate: float = 3e-4
    encoder_rate: float = 0.15
    seed: int = 0


def finetune(
    method: Method,
    folders: list[Path],
    recipe: Recipe,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Train `method.network` (and `method.extra`) in place; ends in evaluation mode.

    Deterministic by the recipe's seed on one machine with one number of threads.

    Args:
        folders: rendered datasets.
        progress: called after every iteration.

    Raises:
        TrainingError: one step after the other had to be refused.
    """
    torch.manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(_parameter_groups(method, recipe), weight_decay=0.01)
    refused = RefusedSteps()
    for iteration, batch in enumerate(_batches(method, folders, recipe)):
        done = iteration / recipe.iterations
        final = done >= 1.0 - _FINAL_SHARE
        fall = _FINAL_RATE + (1.0 - _FINAL_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * fall * group["scale"]
        _set_mode(method, final)
        spoilt = _step(method, batch, optimizer, noise=0.0 if final else 1.0)
        refused.count(spoilt, iteration + 1)
        progress()
    method.network.eval()


def to_input(image: Tensor, device: torch.device) -> Tensor:
    """Convert uint8 [B,3,H,W] to what a network takes."""
    return image.to(device).float().contiguous(memory_format=torch.channels_last)


def _batches(method: Method, folders: list[Path], recipe: Recipe) -> Iterator[dict[str, Tensor]]:
    rooms = Rooms(folders, method.size, train=True, seed=recipe.seed)
    sampler = EndlessSampler(len(rooms), recipe.seed)
    batches = iter(DataLoader(rooms, batch_size=recipe.batch, sampler=sampler))
    for _ in range(recipe.iterations):
        yield {name: value.to(method.device) for name, value in next(batches).items()}


def _step(
    method: Method, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer, noise: float
) -> list[str]:
    """Take a step, unless it is not finite; then, what of it is not."""
    gating = method.training(len(batch["image"]), noise)
    with fast_arithmetic(method.device):
        outputs = method.network(to_input(batch["image"], method.device), gating)
    terms = task_losses(outputs, batch)
    loss = torch.stack([_WEIGHTS[name] * term for name, term in terms.items()]).sum()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, 5.0)
    spoilt = find_spoilt(method.network) + (find_spoilt(method.extra) if method.extra else [])
    if not spoilt:
        optimizer.step()
    return spoilt


def _set_mode(method: Method, final: bool) -> None:
    """Train, but the encoder's (and at the end all) normalisation statistics stay fixed."""
    method.network.train()
    frozen: nn.Module = method.network if final else method.network.encoder
    for module in frozen.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for module in method.network.modules():
        if isinstance(module, MultiPool):
            module.temperature = _FINAL_TEMPERATURE


def _parameter_groups(method: Method, recipe: Recipe) -> list[dict[str, Any]]:
    encoder = method.network.encoder
    encoder.requires_grad_(recipe.encoder_rate > 0)
    encoder.freeze(_FROZEN_BLOCKS)
    pretrained = [p for p in encoder.parameters() if p.requires_grad]
    known = {id(p) for p in encoder.parameters()}
    rest = [p for p in method.network.parameters() if id(p) not in known]
    if method.extra is not None:
        rest += list(method.extra.parameters())
    return [
        {"params": rest, "scale": 1.0},
        {"params": pretrained, "scale": recipe.encoder_rate},
    ]
