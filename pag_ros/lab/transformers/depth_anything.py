"""Depth Anything, its trunk gated, from its published checkpoints.

Of V2 (Yang et al., NeurIPS 2024) they come under two kinds of names: those of the authors'
repository (.pth) and those of Hugging Face (.safetensors); of Depth Anything 3 (Lin et al., 2025)
under those of its authors (.safetensors). All are read as data; no code in a file is run.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from pag_ros.errors import ModelError
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.transformers.dpt import DptConfig, DptHead
from pag_ros.lab.transformers.label_head import LabelHead
from pag_ros.lab.transformers.scale_fit import ScaleFit
from pag_ros.lab.transformers.sharing import counts
from pag_ros.lab.transformers.variants import SKY, V3_NAMES
from pag_ros.lab.transformers.vit import Vit, VitConfig
from pag_ros.reading import reading

_V3Trunk = partial(VitConfig, offset=0.1, epsilon=1e-5)
_V3Head = partial(DptConfig, is_log=True)

SIZES: Mapping[str, tuple[VitConfig, DptConfig]] = {
    "small": (
        VitConfig(384, 12, 6, (2, 5, 8, 11)),
        DptConfig(384, (48, 96, 192, 384), 64),
    ),
    "base": (
        VitConfig(768, 12, 12, (2, 5, 8, 11)),
        DptConfig(768, (96, 192, 384, 768), 128),
    ),
    "large": (
        VitConfig(1024, 24, 16, (4, 11, 17, 23)),
        DptConfig(1024, (256, 512, 1024, 1024), 256),
    ),
    "tiny": (
        VitConfig(96, 8, 3, (1, 3, 5, 7), grid=16),
        DptConfig(96, (24, 32, 48, 64), 32),
    ),
    "v3-small": (
        _V3Trunk(384, 12, 6, (5, 7, 9, 11), alternating=4),
        _V3Head(768, (48, 96, 192, 384), 64, has_places=True),
    ),
    "v3-base": (
        _V3Trunk(768, 12, 12, (5, 7, 9, 11), alternating=4),
        _V3Head(1536, (96, 192, 384, 768), 128, has_places=True),
    ),
    "v3-large": (
        _V3Trunk(1024, 24, 16, (11, 15, 19, 23), alternating=8),
        _V3Head(2048, (256, 512, 1024, 1024), 256, has_places=True),
    ),
    "v3-mono": (
        _V3Trunk(1024, 24, 16, (4, 11, 17, 23)),
        _V3Head(1024, (256, 512, 1024, 1024), 256, has_sky=True),
    ),
    "v3-metric": (
        _V3Trunk(1024, 24, 16, (4, 11, 17, 23)),
        _V3Head(1024, (256, 512, 1024, 1024), 256, has_sky=True, metric_px=300.0),
    ),
}
"""As published; a checkpoint tells its own by its names and its tokens' width, the last two by
whether it is metric.

Nobody has published the tiny one: `pag_ros.lab.transformers.tiny` trains it for experiments.
"""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures it was trained on, 0 to 1."""

_GATES = re.compile(r"pretrained\.blocks\.\d+\.gate\.(weight|bias)")
_UNUSED = re.compile(
    r"pretrained\.mask_token|depth_head\.scratch\.refinenet4\.resConfUnit1\.conv[12]\.(weight|bias)"
)
"""Nothing reads them: they are of pretraining, and of a fusion that has nothing to add."""
_OTHER_TASKS = re.compile(
    r"model\.cam_(enc|dec)\..+|depth_head\.scratch\.(refinenet[1-4]|output_conv[12])_aux\..+"
)
"""Of cameras and rays, of which a picture alone needs nothing."""

_LAYER = r"backbone\.encoder\.layer\.(\d+)\."
_BLOCK = r"pretrained.blocks.\1."
_OTHER_NAMES = (
    (r"model\.backbone\.pretrained\.", "pretrained."),
    (r"model\.head\.", "depth_head."),
    (r"backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (r"backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
    (r"backbone\.embeddings\.(\w+_tokens?)", r"pretrained.\1"),
    (rf"{_LAYER}attention\.output\.dense\.", rf"{_BLOCK}attn.proj."),
    (rf"{_LAYER}layer_scale(\d)\.lambda1", rf"{_BLOCK}ls\2.gamma"),
    (rf"{_LAYER}(norm\d|mlp\.fc\d)\.", rf"{_BLOCK}\2."),
    (r"backbone\.layernorm\.", "pretrained.norm."),
    (r"neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
    (r"neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
    (r"head\.conv1\.", "depth_head.scratch.output_conv1."),
    (r"head\.conv2\.", "depth_head.scratch.output_conv2.0."),
    (r"head\.conv3\.", "depth_head.scratch.output_conv2.2."),
)
"""Beginning of a name of Depth Anything 3, or of Hugging Face's V2 -> of the authors' V2."""

_ATTENTION = re.compile(
    r"backbone\.encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)"
)
_NECK = re.compile(r"neck\.convs\.(\d)\.weight")
_FUSION = re.compile(
    r"neck\.fusion_stage\.layers\.(\d)\.(projection|residual_layer\d)\.(?:convolution(\d)\.)?(.+)"
)


class GatedDepthAnything(nn.Module):
    """A gated trunk and its head.

    Args:
        size: one of `SIZES`.
        max_depth_m: of a metric variant; None for a relative one, see `give_metres`.

    Attributes:
        idle: tensors of its checkpoint that are for other tasks, and not read.
        taught_on: what its gates have learned from, for people; empty: nothing.
        tilt: how its blocks share a budget, see `sharing`.
        metres: of a relative variant, where they come from; None: it has none.
        label_head: tells labels from the same features; None: it tells none.
    """

    def __init__(self, size: str, max_depth_m: float | None = None) -> None:
        super().__init__()
        trunk, head = SIZES[size]
        self.size = size
        self.idle = 0
        self.taught_on = ""
        self.tilt = 0.0
        self.metres: ScaleFit | None = None
        self.label_head: LabelHead | None = None
        self.pretrained = Vit(trunk)
        self.depth_head = DptHead(replace(head, max_depth_m=max_depth_m))

    def keep_for(self, budget: float, patches: int) -> list[int]:
        """How many of so many patches each block computes at a budget, 0 to 1."""
        return counts(budget, self.tilt, self.pretrained.config.depth, patches)

    @property
    def farthest_m(self) -> float | None:
        """The farthest depth to be trusted, metres; None: the depth is relative."""
        return self.depth_head.config.farthest_m

    @property
    def is_inverse(self) -> bool:
        """Whether what it gives without metres is disparity."""
        config = self.depth_head.config
        return config.max_depth_m is None and not config.is_log

    @property
    def gives_depth(self) -> bool:
        """Whether it gives depth, metric or relative, and no disparity."""
        return self.farthest_m is not None or not self.is_inverse

    def idle_line(self) -> str:
        """For people: what of its checkpoint is not used."""
        return f"not used: {self.idle} tensors of its cameras and rays, which one picture lacks"

    def give_metres(self, metres: ScaleFit) -> None:
        """Make a relative variant give metres from now on."""
        self.metres = metres
        self.depth_head.config = replace(self.depth_head.config, scale=metres.best)

    def forward(
        self, image: Tensor, keep: Sequence[int] | None = None, fx: Tensor | None = None
    ) -> Tensor:
        """Depth of pictures.

        Args:
            image: [B,3,H,W] RGB 0 to 1, sides whole multiples of 14.
            keep: of each block, how many patches it computes; None computes all.
            fx: [B] focal length in pixels; see `DptHead.forward`.

        Returns:
            [B,1,H,W] metres, relative depth, or relative inverse depth.
        """
        features = self.pretrained(normalised(image), keep)
        depth: Tensor = self.depth_head(features, fx)
        return depth


def normalised(image: Tensor) -> Tensor:
    """[B,3,H,W] RGB 0 to 1 as the trunk takes it."""
    mean, deviation = (image.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (image - mean) / deviation


def read_depth_anything(path: Path, max_depth_m: float | None = None) -> GatedDepthAnything:
    """The network of a published checkpoint, in evaluation mode, its gates as they start.

    Args:
        path: .pth or .safetensors, see above; one of `SIZES`.
        max_depth_m: what a metric variant was trained up to (indoors 20, outdoors 80), or the
            farthest that is to be trusted: the file does not say.

    Raises:
        ModelError: the file is missing, damaged, holds code, or is another network.
    """
    stored = _read(path)
    is_v3 = any(name.startswith(V3_NAMES) for name in stored)
    state = published_names(stored)
    with torch.device("meta"):
        network = GatedDepthAnything(_size_of(path, state, is_v3, max_depth_m), max_depth_m)
    expected = {k: v for k, v in network.state_dict().items() if not _GATES.fullmatch(k)}
    known = {k: v for k, v in state.items() if k in expected}
    unknown = [k for k in state if k not in expected]
    if is_v3:
        network.idle = sum(_OTHER_TASKS.fullmatch(k) is not None for k in unknown)
        unknown = [k for k in unknown if not _OTHER_TASKS.fullmatch(k)]
    _check(path, known, expected, unknown, "Depth Anything 3" if is_v3 else "Depth Anything V2")
    require_finite(known, path)
    network.to_empty(device="cpu")
    # What a file may lack is read by nothing, but no number of a model may be left to chance.
    whole = {k: known.get(k, torch.zeros(v.shape)).float() for k, v in expected.items()}
    network.load_state_dict(whole, strict=False)
    for block in network.pretrained.gated:
        block.gate.forget()
    return network.eval()


def _size_of(
    path: Path, state: Mapping[str, Tensor], is_v3: bool, max_depth_m: float | None
) -> str:
    """Which of `SIZES` a checkpoint is.

    Raises:
        ModelError: none.
    """
    has_sky = is_v3 and any(SKY in name for name in state)
    sizes = {
        trunk.width: size
        for size, (trunk, head) in SIZES.items()
        if head.is_log == is_v3
        and head.has_sky == has_sky
        and (not has_sky or (head.metric_px is None) == (max_depth_m is None))
    }
    position = state.get("pretrained.pos_embed")
    if position is None or position.dim() != 3 or position.shape[2] not in sizes:
        edition = "3" if is_v3 else "V2"
        raise ModelError(
            f"{path}: no Depth Anything {edition} of {', '.join(sizes.values())}: it has no "
            f"pretrained.pos_embed [1,1370,{' or '.join(map(str, sizes))}]"
        )
    size = sizes[position.shape[2]]
    if is_v3 and max_depth_m is not None and SIZES[size][1].metric_px is None:
        raise ModelError(f"{path}: Depth Anything 3 of this kind ({size}) is relative, not metric")
    return size


def random_depth_anything(size: str, max_depth_m: float | None = None) -> GatedDepthAnything:
    """A network of random weights, in evaluation mode, to measure speed with.

    Args:
        size, max_depth_m: see `GatedDepthAnything`.
    """
    return GatedDepthAnything(size, max_depth_m).eval()


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names of the authors' repository, whichever they had before."""
    return _joined_attention({_plain_name(name): value for name, value in state.items()})


def _read(path: Path) -> dict[str, Tensor]:
    with reading(path, "a checkpoint of Depth Anything (.pth or .safetensors)", ModelError):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if zipfile.is_zipfile(path):
                raise ModelError(
                    f"{path}: holds more than tensors, and code in a file is never run; expected "
                    "a checkpoint of Depth Anything as published"
                ) from error
            raise
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise ModelError(f"{path}: expected names and tensors, as published")
    return dict(state)


def _check(
    path: Path,
    known: dict[str, Tensor],
    expected: dict[str, Tensor],
    unknown: Sequence[str],
    edition: str,
) -> None:
    missing = [k for k in expected if k not in known and not _UNUSED.fullmatch(k)]
    if missing:
        raise ModelError(f"{path}: lacks {missing[0]} (and {len(missing) - 1} more)")
    foreign = [k for k in unknown if not _UNUSED.fullmatch(k)]
    if foreign:
        raise ModelError(f"{path}: {foreign[0]} is none of {edition}'s tensors")
    for name, value in known.items():
        if value.shape != expected[name].shape:
            wanted, found = list(expected[name].shape), list(value.shape)
            raise ModelError(f"{path}: {name} is {found}, expected {wanted}")


def _plain_name(name: str) -> str:
    """A tensor's name in the authors' repository; query, key and value stay apart."""
    for pattern, replacement in _OTHER_NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    if match := _NECK.fullmatch(name):
        return f"depth_head.scratch.layer{int(match[1]) + 1}_rn.weight"
    if match := _FUSION.fullmatch(name):
        layer, part, conv, rest = match.groups()
        unit = f"resConfUnit{part[-1]}.conv{conv}" if conv else "out_conv"
        # Hugging Face counts from the coarsest on.
        return f"depth_head.scratch.refinenet{4 - int(layer)}.{unit}.{rest}"
    return name


def _joined_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of a block as the one tensor that the authors have."""
    apart: dict[str, dict[str, Tensor]] = {}
    joined: dict[str, Tensor] = {}
    for name, value in state.items():
        if match := _ATTENTION.fullmatch(name):
            whole = f"pretrained.blocks.{match[1]}.attn.qkv.{match[3]}"
            apart.setdefault(whole, {})[match[2]] = value
        else:
            joined[name] = value
    for name, parts in apart.items():
        if parts.keys() == {"query", "key", "value"}:
            joined[name] = torch.cat([parts["query"], parts["key"], parts["value"]])
    return joined
