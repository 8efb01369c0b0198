"""A network of a million parameters of the same build, for experiments that a laptop can repeat.

Its depth is for a canonical focal length: that of a camera whose picture is as wide as its focal
length. Times fx / width it is metres.
"""

from __future__ import annotations

import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn
from tqdm import tqdm

from pag_ros.errors import BackendError
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.fitting import fit
from pag_ros.lab.training.arithmetic import fast_arithmetic
from pag_ros.lab.training.losses import depth_loss
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.writing import write_bytes

SIZE = (224, 168)
"""(width, height) of its input in pixels."""

MAX_DEPTH_M = 20.0

_BATCH = 8
_WARM_UP = 0.04
_DECAY = 0.05
_BLOCKS_RATE, _REST_RATE = 2e-3, 1e-3


@dataclass(frozen=True)
class PicturesWithDepth:
    """Pictures with their depth, in memory.

    Attributes:
        images: [N,3,H,W] uint8 RGB.
        depths: [N,H,W] float16, at the canonical focal length; NaN = unknown.
    """

    images: Tensor
    depths: Tensor


def read_with_depth(dataset: Dataset) -> PicturesWithDepth:
    """All samples of a dataset at `SIZE`.

    Raises:
        DatasetError: a sample is damaged.
    """
    images, depths = [], []
    for index in tqdm(range(len(dataset)), "reading", disable=None, file=sys.stderr):
        sample = fit(dataset[index], SIZE)
        images.append(torch.from_numpy(sample.color).permute(2, 0, 1).contiguous())
        depths.append(canonical_depth(sample).half())
    return PicturesWithDepth(torch.stack(images), torch.stack(depths))


def canonical_depth(sample: Sample) -> Tensor:
    """[H,W] true depth at the canonical focal length, NaN = unknown, also beyond `MAX_DEPTH_M`."""
    if sample.depth is None:
        return torch.full(sample.color.shape[:2], math.nan)
    depth: Tensor = torch.from_numpy(sample.depth) * (sample.color.shape[1] / sample.focal_px)
    return depth.where(depth < MAX_DEPTH_M, math.nan)


def train_tiny(data: PicturesWithDepth, minutes: float, seed: int = 0) -> GatedDepthAnything:
    """A network trained from nothing on the true depth; its gates have learned nothing.

    Args:
        minutes: the clock ends it.

    Raises:
        BackendError: this torch is older than 2.9, which brought Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise BackendError(f"training needs torch 2.9 or newer, this is {torch.__version__}")
    torch.manual_seed(seed)
    network = _initialised()
    optimizers = _optimizers(network)
    began, progress, mean_loss, steps = time.monotonic(), 0.0, math.nan, 0
    layout = "{desc} {percentage:3.0f}%|{bar}|{postfix}"
    with tqdm(desc="training", total=100, disable=None, file=sys.stderr, bar_format=layout) as bar:
        while progress < 1.0:
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * _schedule(progress)
            loss = _step(network, *_batch(data), optimizers)
            steps += 1
            mean_loss = loss if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss
            progress = min(1.0, (time.monotonic() - began) / (60.0 * minutes))
            bar.set_postfix_str(f"step {steps}, loss {mean_loss:.3f}", refresh=False)
            bar.update(100.0 * progress - bar.n)
    tqdm.write(f"{steps} steps of {_BATCH} pictures, loss {mean_loss:.3f}", file=sys.stderr)
    return network.eval()


def save_network(network: GatedDepthAnything, path: Path) -> None:
    """Write its weights as `read_depth_anything` reads them; gates and labels are no part of them.

    Raises:
        OSError: it cannot be written.
    """
    own = re.compile(r".*\.gate\.|label_head\.")
    state = {k: v.contiguous() for k, v in network.state_dict().items() if not own.match(k)}
    write_bytes(path, serialize(state), make_folder=True)


def _initialised() -> GatedDepthAnything:
    network = GatedDepthAnything("tiny", MAX_DEPTH_M)
    for module in network.pretrained.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    trunk = network.pretrained
    nn.init.trunc_normal_(trunk.patch_embed.proj.weight, std=0.02)
    nn.init.trunc_normal_(trunk.cls_token, std=0.02)
    trunk.pos_embed.data[0, 1:] = _waves(trunk.config.grid, trunk.config.width)
    return network.train()


def _waves(grid: int, width: int) -> Tensor:
    """[grid*grid,width] positions to start from: sines and cosines of rows and columns.

    Where they start as small noise, tokens do not know where they are for thousands of steps.
    """
    half_waves = torch.logspace(math.log10(grid), math.log10(2.0), width // 4)
    angles = torch.arange(grid)[:, None] * (math.pi / half_waves)
    along = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = along[:, None].expand(-1, grid, -1), along[None].expand(grid, -1, -1)
    return 0.5 * torch.cat([rows, columns], 2).flatten(0, 1)


def _optimizers(network: GatedDepthAnything) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, which learns in a fraction of AdamW's steps; it for the rest.

    Keller Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if ".gate." not in name:
            is_matrix = ".blocks." in name and parameter.dim() == 2
            (matrices if is_matrix else rest).append(parameter)
    return [
        torch.optim.Muon(
            [{"params": matrices, "initial_lr": _BLOCKS_RATE}],
            _BLOCKS_RATE,
            weight_decay=_DECAY,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [{"params": rest, "initial_lr": _REST_RATE}], _REST_RATE, weight_decay=_DECAY
        ),
    ]


def _schedule(progress: float) -> float:
    if progress < _WARM_UP:
        return progress / _WARM_UP + 1e-3
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _batch(data: PicturesWithDepth) -> tuple[Tensor, Tensor]:
    """Pictures 0 to 1 and their depths; half of them mirrored, all of other colours and light."""
    chosen = torch.randint(len(data.images), (_BATCH,))
    image, depth = data.images[chosen].float() / 255.0, data.depths[chosen].float()
    gamma = torch.empty(_BATCH, 1, 1, 1).uniform_(0.7, 1.4)
    gain = torch.empty(_BATCH, 3, 1, 1).uniform_(0.8, 1.2)
    image = (image.pow(gamma) * gain + 0.02 * torch.randn_like(image)).clamp(0.0, 1.0)
    mirrored = torch.rand(_BATCH) < 0.5
    image = torch.where(mirrored.view(-1, 1, 1, 1), image.flip(3), image)
    return image, torch.where(mirrored.view(-1, 1, 1), depth.flip(2), depth)


def _step(
    network: GatedDepthAnything,
    image: Tensor,
    truth: Tensor,
    optimizers: list[torch.optim.Optimizer],
) -> float:
    with fast_arithmetic(image.device):
        depth = network(image)
    loss = depth_loss(depth.float().clamp(min=1e-3).log(), truth)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())
