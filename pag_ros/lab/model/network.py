"""The whole network: an encoder, gated blocks, a thin decoder and one head per task.

Two forms:
    GatedTrunkNet    the shipped one: a pretrained EfficientNet-Lite, its features fused at 1/8,
                     then a trunk of gated residual blocks
    GatedResNetNet   the paper's: gates in the residual blocks of a ResNet
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pag_ros.checks import shown
from pag_ros.errors import ModelError
from pag_ros.lab.model.blocks import GatedBasicBlock, GatedBlock, GateScope
from pag_ros.lab.model.efficientnet_lite import EfficientNetLite
from pag_ros.lab.model.gating import Gating
from pag_ros.lab.model.resnet import GatedResNet
from pag_ros.manifest import HEADS, MAX_CLASSES

CANONICAL_FOCAL = 0.8125
"""Focal length over image width at which predicted depth is in metres (260 px at 320)."""

_CHOICES = {
    "encoder": ("lite0", "lite2", "resnet18", "resnet50"),
    "gate_scope": ("branch", "conv3x3"),
    "output_stride": (8, 16, 32),
    "multipool": (True, False),
    "pooled_scale": (True, False),
    "canonical_normals": (True, False),
}
_RANGES = {"classes": (1, MAX_CLASSES), "blocks": (1, 64), "channels": (1, 1024)}
"""Those of blocks and channels are so large that only a damaged file is out."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network to build.

    Attributes:
        encoder: "lite0", "lite2", "resnet18" or "resnet50".
        heads: subset of `HEADS`.
        classes: number of semantic classes.
        class_names: their names in the order of the ids, or empty where nobody named them.
        blocks, channels: of the gated trunk (EfficientNet-Lite encoders only).
        multipool: one block is a MultiPool (the trunk's last but one; the second of ResNet's last
            stage).
        pooled_scale: the depth's scale is an output of its own, of the features' mean over the
            picture.
        canonical_normals: normals are those that a camera of `CANONICAL_FOCAL` would see, as depth
            is, see `camera_normals`; else those of no particular camera.
        gate_scope, output_stride: ResNet encoders only, see `GatedResNet`.
    """

    encoder: Literal["lite0", "lite2", "resnet18", "resnet50"] = "lite0"
    heads: tuple[str, ...] = ("depth", "normals", "segmentation")
    classes: int = 14
    blocks: int = 8
    channels: int = 128
    multipool: bool = True
    pooled_scale: bool = False
    canonical_normals: bool = False
    gate_scope: GateScope = "branch"
    output_stride: int = 8
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build from parsed YAML or JSON; `classes` may be a list of names there.

        Raises:
            ModelError: an unknown key, a value outside what it may be, or entries that contradict
                each other.
        """
        if not isinstance(values, Mapping):
            raise ModelError(f"network configuration: expected a mapping, not {shown(values)}")
        values = _with_class_names(values)
        known = [entry.name for entry in fields(cls)]
        if unknown := [key for key in values if key not in known]:
            raise ModelError(
                f"network configuration: {unknown[0]}: no such key; there are {', '.join(known)}"
            )
        try:
            config = cls(**{**values, "heads": tuple(values.get("heads", cls.heads))})
        except TypeError as error:
            raise ModelError(f"network configuration: {error}") from error
        if problem := _problem(config):
            raise ModelError(f"network configuration: {problem}")
        return config


class PagNetwork(nn.Module, abc.ABC):
    """Base of both forms: numbers the gated blocks, decodes and shapes the outputs.

    Attributes:
        gated: the gated blocks in the order in which they run.
    """

    gated: tuple[GatedBlock, ...]
    encoder: EfficientNetLite | GatedResNet
    decoder: Decoder

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def number_blocks(self) -> None:
        """Give every gated block its slot; called once by the constructor of a form."""
        self.gated = tuple(m for m in self.modules() if isinstance(m, GatedBlock))
        for slot, block in enumerate(self.gated):
            block.slot = slot

    @abc.abstractmethod
    def features(self, image: Tensor, gating: Gating) -> tuple[Tensor, ...]:
        """image [B,3,H,W] RGB 0-255 -> features [B,C_i,h_i,w_i] for the decoder, finest first."""

    def forward(self, image: Tensor, gating: Gating) -> dict[str, Tensor]:
        """Raw outputs at half the input's resolution.

        Args:
            image: [B,3,H,W] RGB 0-255.
            gating: how the gated blocks run.

        Returns:
            Of the configured heads: "depth" [B,1,h,w], natural log of metres at `CANONICAL_FOCAL`;
            "normals" [B,3,h,w], not normalised, see `canonical_normals` of the configuration;
            "segmentation" [B,classes,h,w] and "boundary" [B,1,h,w], logits.
        """
        outputs: dict[str, Tensor] = self.decoder(self.features(image, gating))
        return outputs


class GatedTrunkNet(PagNetwork):
    """EfficientNet-Lite, features fused at 1/8, a trunk of gated basic blocks."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoder = EfficientNetLite(config.encoder)
        half, quarter, *deep = self.encoder.channels
        self.fuse = nn.ModuleList(nn.Conv2d(c, config.channels, 1) for c in deep)
        self.trunk = nn.ModuleList(
            GatedBasicBlock(config.channels, config.multipool and i == config.blocks - 2)
            for i in range(config.blocks)
        )
        self.decoder = Decoder((half, quarter, config.channels), config)
        self.number_blocks()

    def features(self, image: Tensor, gating: Gating) -> tuple[Tensor, ...]:
        half, quarter, *deep = self.encoder(image)
        size = deep[0].shape[2:]
        x = self.fuse[0](deep[0])
        for fuse, feature in zip(list(self.fuse)[1:], deep[1:], strict=True):
            x = x + F.interpolate(fuse(feature), size=size, mode="bilinear", align_corners=False)
        x = F.relu(x)
        for block in self.trunk:
            x = block(x, gating)
        return half, quarter, x


class GatedResNetNet(PagNetwork):
    """A ResNet with gates in its residual blocks."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoder = GatedResNet(
            18 if config.encoder == "resnet18" else 50,
            config.gate_scope,
            config.output_stride,
            config.multipool,
        )
        self.decoder = Decoder(self.encoder.channels, config)
        self.number_blocks()

    def features(self, image: Tensor, gating: Gating) -> tuple[Tensor, ...]:
        features: tuple[Tensor, ...] = self.encoder(image, gating)
        return features


class Decoder(nn.Module):
    """Upsamples step by step, adding finer features, then one 1x1 head a task.

    Args:
        channels: of the features, finest (1/2) first.
    """

    _WIDTHS = (32, 48)
    """Channels at 1/2 and at the steps before it."""

    def __init__(self, channels: tuple[int, ...], config: NetworkConfig) -> None:
        super().__init__()
        widths = [self._WIDTHS[0]] + [self._WIDTHS[1]] * (len(channels) - 2)
        deeper = [*widths[1:], channels[-1]]
        self.steps = nn.ModuleList(
            _DecoderStep(skip, below, width)
            for skip, below, width in zip(channels[:-1], deeper, widths, strict=True)
        )
        outputs = {"depth": 1, "normals": 3, "segmentation": config.classes, "boundary": 1}
        self.heads = nn.ModuleDict({h: nn.Conv2d(widths[0], outputs[h], 1) for h in config.heads})
        pools = config.pooled_scale and "depth" in config.heads
        self.scale = ScaleHead(channels[-1]) if pools else None

    def forward(self, features: tuple[Tensor, ...]) -> dict[str, Tensor]:
        x = features[-1]
        for step, skip in zip(reversed(self.steps), reversed(features[:-1]), strict=True):
            x = step(x, skip)
        outputs = {name: head(x) for name, head in self.heads.items()}
        if self.scale is not None:
            outputs["depth"] = outputs["depth"] + self.scale(features[-1])
        return outputs


class ScaleHead(nn.Module):
    """Features -> what is added to a picture's log depth: its scale, which the whole picture tells.

    It starts at 0, so that it can be added to a trained network.
    """

    _HIDDEN = 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, self._HIDDEN, 1)
        self.output = nn.Conv2d(self._HIDDEN, 1, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B,channels,h,w] -> [B,1,1,1]."""
        # Not the pooling layer: of channels-last features its export is a Gather of every channel.
        pooled = x.mean((2, 3), keepdim=True)
        scale: Tensor = self.output(F.relu(self.hidden(pooled)))
        return scale


class _DecoderStep(nn.Module):
    def __init__(self, skip: int, below: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(below, width, 1)
        self.lateral = nn.Conv2d(skip, width, 1)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        up = F.interpolate(
            self.reduce(x), size=skip.shape[2:], mode="bilinear", align_corners=False
        )
        return F.relu(self.norm(self.conv(F.relu(up + self.lateral(skip)))))


def build_network(config: NetworkConfig) -> PagNetwork:
    """The network that `config` describes, with random weights."""
    if config.encoder.startswith("lite"):
        return GatedTrunkNet(config)
    return GatedResNetNet(config)


def metric_depth(log_depth: Tensor, focal_px: Tensor, width: int) -> Tensor:
    """Depth in metres from the network's output.

    An object at twice the focal length looks twice as near, so the network learns depth at one
    canonical focal length, and the true one scales it.

    Args:
        log_depth: [B,1,h,w] output of the depth head.
        focal_px: [B] fx in pixels of the input image.
        width: of the input image in pixels.
    """
    scale = focal_px / (CANONICAL_FOCAL * width)
    return torch.exp(log_depth) * scale.view(-1, 1, 1, 1)


def camera_normals(normals: Tensor, focal_px: Tensor, width: int) -> Tensor:
    """Normals in the camera's frame from those that a canonical camera would see; of any length.

    A longer lens shows a slope with less perspective, as a steeper view of a flatter one would be:
    without the focal length nobody can tell the two apart. To a canonical camera the same picture
    is a scene stretched along the optical axis, as `metric_depth` has it, and normals follow a
    stretched surface by the inverse.

    Args:
        normals: [B,3,h,w] of any length.
        focal_px: [B] fx in pixels of the input image.
        width: of the input image in pixels.
    """
    stretch = (CANONICAL_FOCAL * width / focal_px).view(-1, 1, 1, 1)
    across = normals.new_tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    along = normals.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    return normals * (across + along * stretch)


def canonical_normals(normals: Tensor, focal_px: Tensor, width: int) -> Tensor:
    """The inverse of `camera_normals`, of unit length; NaN stays NaN."""
    canonical = CANONICAL_FOCAL * width
    return F.normalize(camera_normals(normals, canonical**2 / focal_px, width), dim=1)


def _with_class_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """`classes: [wall, floor]` is short for its number and `class_names`."""
    classes = values.get("classes")
    names = classes if isinstance(classes, list | tuple) else values.get("class_names", ())
    number = {"classes": len(names)} if isinstance(classes, list | tuple) else {}
    return {**values, **number, "class_names": tuple(names)}


def _problem(config: NetworkConfig) -> str | None:
    """What is wrong with a configuration, for people."""
    for name, choices in _CHOICES.items():
        if (value := getattr(config, name)) not in choices:
            return f"{name}: expected {' or '.join(map(str, choices))}, not {shown(value)}"
    for name, (low, high) in _RANGES.items():
        value = getattr(config, name)
        if type(value) is not int or not low <= value <= high:
            return f"{name}: expected a whole number from {low} to {high}, not {shown(value)}"
    if not config.heads or not all(head in HEADS for head in config.heads):
        return f"heads: expected some of {', '.join(HEADS)}, not {shown(list(config.heads))}"
    if len(set(config.heads)) < len(config.heads):
        return f"heads: {list(config.heads)} names one of them twice"
    if not all(isinstance(name, str) and name.isprintable() for name in config.class_names):
        return f"class_names: expected printable names, not {shown(list(config.class_names))}"
    if config.class_names and len(config.class_names) != config.classes:
        return f"{len(config.class_names)} class_names for {config.classes} classes"
    if config.encoder == "resnet18" and config.gate_scope == "conv3x3":
        return (
            "gate_scope conv3x3 is the bottleneck's and resnet18 has none; use gate_scope branch "
            "or encoder resnet50"
        )
    if config.encoder.startswith("lite") and config.multipool and config.blocks < 2:
        return "multipool: takes the place of the last block but one, and there is one block"
    return None
