"""Batches at several sizes: one network for every input size that a robot can afford.

As Redmon and Farhadi trained YOLO9000 (CVPR 2017), a whole batch at a time.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pag_ros.lab.training.config import TrainConfig

_STRIDE = 8
"""Sides are whole multiples of it, as those are that `pag_ros.runtime.network_size` offers."""


_PICTURES = ("image", "plain")


def drawn_scale(config: TrainConfig, iteration: int) -> float:
    """The scale of an iteration's batch, the same in every process."""
    rng = np.random.default_rng((config.seed, iteration))
    return float(rng.choice(config.scales))


def at_scale(batch: dict[str, Tensor], scale: float, size_exponent: float) -> dict[str, Tensor]:
    """A batch at `scale` times its size; truths by nearest pixels.

    Args:
        batch: see `Rooms`.
        scale: above 0; each side is rounded to a whole multiple of `_STRIDE`.
        size_exponent: as `Manifest.size_exponent`: so much farther the network shall see
            everything in a smaller picture, for it judges distances by pixels, too.
    """
    if scale == 1.0:
        return batch
    height, width = (
        max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in batch["image"].shape[2:]
    )
    focal_px = batch["focal_px"] * width / batch["image"].shape[3]
    scaled = {
        name: (_averaged if name in _PICTURES else _nearest)(value, (height, width))
        for name, value in batch.items()
        if name != "focal_px"
    }
    seen = scaled["depth"] * scale**-size_exponent
    return {**scaled, "depth": seen, "focal_px": focal_px}


def _averaged(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pictures.float(), size=size, mode="area")


def _nearest(truth: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [B,H,W] or maps [B,C,H,W] at another size."""
    maps = truth if truth.dim() == 4 else truth[:, None]
    resized = F.interpolate(maps.float(), size=size, mode="nearest-exact").to(truth.dtype)
    return resized if truth.dim() == 4 else resized[:, 0]
