"""Depth Anything 3 in small, with lively random weights, under the names of its published files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from pag_ros.lab.transformers import adopt, depth_anything
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.dpt import DptConfig
from pag_ros.lab.transformers.vit import VitConfig

SIZE = WIDTH, HEIGHT = 112, 84
PATCHES, BLOCKS = 8 * 6, 6
ALTERNATING = 2
_ALIKE = {"grid": 5, "offset": 0.1, "epsilon": 1e-5}
_PLAIN = VitConfig(48, BLOCKS, 3, (1, 2, 4, 5), **_ALIKE)
_CHANNELS = (8, 12, 16, 20)
SIZES = {
    "v3-toy": (
        VitConfig(48, BLOCKS, 3, (2, 3, 4, 5), alternating=ALTERNATING, **_ALIKE),
        DptConfig(96, _CHANNELS, 16, is_log=True, has_places=True),
    ),
    "v3-toy-mono": (_PLAIN, DptConfig(48, _CHANNELS, 16, is_log=True, has_sky=True)),
    "v3-toy-metric": (
        _PLAIN,
        DptConfig(48, _CHANNELS, 16, is_log=True, has_sky=True, metric_px=300.0),
    ),
}


@contextmanager
def known_sizes() -> Iterator[None]:
    """As if these had been published, too."""
    depth_anything.SIZES.update(SIZES)
    adopt.LICENCES.update(dict.fromkeys(SIZES, "none"))
    try:
        yield
    finally:
        for size in SIZES:
            del depth_anything.SIZES[size], adopt.LICENCES[size]


def small_v3(size: str = "v3-toy", max_depth_m: float | None = None) -> GatedDepthAnything:
    """The same each time; its weights are as files in half precision hold them."""
    network = GatedDepthAnything(size, max_depth_m).eval()
    generator = torch.Generator().manual_seed(3)
    for name, value in network.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if ".gate." in name:
            value.data += 0.1 * noise  # no two scores are alike
            continue
        if "gamma" in name or ("norm" in name and name.endswith("weight")):
            value.data = 1.0 + 0.2 * noise
        elif value.dim() > 1 and "token" not in name and "pos_embed" not in name:
            value.data = noise * value[0].numel() ** -0.5
        else:
            value.data = 0.3 * noise
        if "sky_output_conv2.2.bias" in name:
            value.data += 1.5  # a part of any picture is sky
        value.data = value.data.half().float()
    return network


def published(network: GatedDepthAnything) -> dict[str, torch.Tensor]:
    """Its weights under the names of published files, and one tensor of each other task."""
    idle = ("cam_enc.token_norm.weight", "cam_dec.fc_t.bias", "head.scratch.refinenet1_aux.w.bias")
    state = {
        name.replace("pretrained.", "backbone.pretrained.").replace("depth_head.", "head."): value
        for name, value in network.state_dict().items()
        if ".gate." not in name and "refinenet4.resConfUnit1" not in name
    }
    if network.pretrained.config.alternating is not None:
        state.update({name: torch.ones(3) for name in idle})
    return {f"model.{name}": value.clone() for name, value in state.items()}


def saved(network: GatedDepthAnything, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(published(network), path)
    return path
