"""A published checkpoint as a model that the node runs: ONNX and manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pag_ros.errors import ModelError, ParameterError
from pag_ros.lab.export.onnx_export import write_graph
from pag_ros.lab.model.cost import count_macs
from pag_ros.lab.model.operators import no_limits
from pag_ros.lab.transformers.deployed import (
    DeployedDepthAnything,
    StandardDepthAnything,
    UngatedDepthAnything,
    heads_of,
)
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, read_depth_anything
from pag_ros.lab.transformers.labels import colored
from pag_ros.lab.transformers.variants import DEEPEST_M
from pag_ros.lab.transformers.vit import PATCH, likeness_macs, macs_per_token
from pag_ros.manifest import BlockSpec, Manifest, save_manifest, sha256_of
from pag_ros.runtime.tensorrt.standard_graph import MODEL_NOTE, standard_path

LARGEST_PX = 1036
"""Twice the side that it was trained at: 5,476 tokens, whose attention takes half a gigabyte."""
LICENCES = {
    "small": "Apache-2.0 (Depth Anything V2 small)",
    "base": "CC-BY-NC-4.0 (Depth Anything V2 base): not for commercial use",
    "large": "CC-BY-NC-4.0 (Depth Anything V2 large): not for commercial use",
    "tiny": "its user's own",
    "v3-small": "Apache-2.0 (Depth Anything 3 small)",
    "v3-base": "Apache-2.0 (Depth Anything 3 base)",
    "v3-large": "CC-BY-NC-4.0 (Depth Anything 3 large): not for commercial use",
    "v3-mono": "Apache-2.0 (Depth Anything 3 mono large)",
    "v3-metric": "Apache-2.0 (Depth Anything 3 metric large)",
}
_V2_DATA = (
    "Depth Anything V2 (Yang et al., NeurIPS 2024): DINOv2, synthetic and pseudo-labelled pictures"
)
_V3_DATA = "Depth Anything 3 (Lin et al., 2025): DINOv2, public academic datasets"
_FOCAL_WIDTHS = (0.5, 1.5)
_AROUND = 1.1
_NEAREST_M = 0.1


def adopt(
    checkpoint: Path,
    out: Path,
    size: tuple[int, int],
    max_depth_m: float | None,
    prepare: Callable[[GatedDepthAnything], None] = lambda network: None,
) -> Manifest:
    """Write `out`/NAME.onnx, its manifest and NAME.standard.onnx; NAME is the checkpoint's.

    Args:
        checkpoint: of a Depth Anything, see `read_depth_anything`.
        out: folder; it is made.
        size: (width, height) of the network's input in pixels.
        max_depth_m: what a metric checkpoint was trained up to, metres; None: it is relative.
        prepare: what is done to the network before it is written: a relative one is given metres,
            gates are taught.

    Raises:
        ParameterError: the size is none of whole patches, or the depth or the folder cannot be.
        ModelError: the checkpoint cannot be read, is another network, or has no metres.
    """
    network = read_checkpoint(checkpoint, size, max_depth_m)
    prepare(network)
    return write_model(network, checkpoint.stem, size, out)


def read_checkpoint(
    checkpoint: Path, size: tuple[int, int], max_depth_m: float | None
) -> GatedDepthAnything:
    """The network of a checkpoint that is to run at a size; see `adopt`."""
    _check(size, max_depth_m)
    return read_depth_anything(checkpoint, max_depth_m)


def write_model(
    network: GatedDepthAnything, name: str, size: tuple[int, int], out: Path
) -> Manifest:
    """Write `out`/NAME.onnx, its manifest and NAME.standard.onnx; see `adopt`."""
    path = out / f"{name}.onnx"
    manifest = export_depth_anything(network, name, size, path)
    export_standard(network, size, standard_path(path), manifest.sha256)
    return manifest


def export_depth_anything(
    network: GatedDepthAnything, name: str, size: tuple[int, int], path: Path
) -> Manifest:
    """Write a network and its manifest.

    Raises:
        ParameterError: `path` cannot be written.
        ModelError: its depth has no metres, or torch cannot export it.
    """
    farthest_m = network.farthest_m
    if farthest_m is None:
        raise ModelError(
            f"{name}: a relative depth has no metres; --depths fits them to true depth"
        )
    width, height = size
    depth = network.pretrained.config.depth
    inputs = {**_inputs(size), "keep": _keep(depth), "plan": no_limits(depth)}
    deployed = DeployedDepthAnything(network)
    write_graph(deployed, inputs, deployed.output_names(), path)
    blocks, dense_macs = _count(network, size)
    head = network.label_head
    manifest = Manifest(
        name=name,
        sha256=sha256_of(path),
        height=height,
        width=width,
        focal_range=_focal_range(network, width),
        depth_range_m=(_NEAREST_M, farthest_m),
        classes=() if head is None else colored(head.classes),
        blocks=blocks,
        dense_macs=dense_macs,
        heads=heads_of(network),
        license=LICENCES[network.size],
        training_data=_training_data(network),
        budgets=_budgets(network, blocks),
    )
    save_manifest(manifest, path)
    return manifest


def export_standard(
    network: GatedDepthAnything, size: tuple[int, int], path: Path, model_sha256: str
) -> None:
    """Write the gated network in standard operators alone: for TensorRT, and for any runtime.

    Its inputs are `image`, `fx` and `keep`, the patches that each block computes, 1 or more.

    Args:
        model_sha256: of the same network's model, which the file names as the one that it is of.

    Raises:
        ParameterError, ModelError: as for `export_depth_anything`.
    """
    inputs = {**_inputs(size), "keep": _keep(network.pretrained.config.depth)}
    standard = StandardDepthAnything(network)
    write_graph(standard, inputs, standard.output_names(), path, {MODEL_NOTE: model_sha256})


def export_ungated(network: GatedDepthAnything, size: tuple[int, int], path: Path) -> None:
    """Write the network as published: standard operators alone, every token computed.

    Raises:
        ParameterError, ModelError: as for `export_depth_anything`.
    """
    write_graph(UngatedDepthAnything(network), _inputs(size), ["depth", "normals"], path)


def _inputs(size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """A picture and its focal length, to export with."""
    width, height = size
    return {
        "image": torch.zeros(1, height, width, 3, dtype=torch.uint8),
        "fx": torch.tensor([float(width)]),
    }


def _keep(blocks: int) -> torch.Tensor:
    """Counts to export with."""
    return torch.full((blocks,), 2, dtype=torch.int32)


def _budgets(
    network: GatedDepthAnything, blocks: tuple[BlockSpec, ...]
) -> dict[str, tuple[int, ...]]:
    """Rows between which all budgets are linear, see `sharing`."""
    rows = (0.5, 1.0) if network.tilt else (1.0,)
    return {f"{b:.2f}": tuple(network.keep_for(b, blocks[0].pixels)) for b in rows}


def _focal_range(network: GatedDepthAnything, width: int) -> tuple[float, float]:
    """In pixels; of a relative network around those of the pictures that gave it its metres."""
    low, high = _FOCAL_WIDTHS
    if network.metres is not None:
        low, high = network.metres.focal_widths
        low, high = low / _AROUND, high * _AROUND
    return low * width, high * width


def _training_data(network: GatedDepthAnything) -> str:
    """For people: what it has seen, and where relative depth has its metres from."""
    published = _V3_DATA if network.depth_head.config.is_log else _V2_DATA
    trained_on = "its user's pictures" if network.size == "tiny" else published
    parts = [trained_on, f"gates {network.taught_on or 'untaught'}"]
    if network.label_head is not None:
        parts.append(f"labels {network.label_head.taught_on}")
    if network.metres is not None:
        parts.append(f"metres: {network.metres.summary()}")
    return "; ".join(parts)


def _check(size: tuple[int, int], max_depth_m: float | None) -> None:
    if any(side % PATCH or not PATCH <= side <= LARGEST_PX for side in size):
        near = tuple(min(max(1, round(side / PATCH)) * PATCH, LARGEST_PX) for side in size)
        raise ParameterError(
            f"size {size[0]}x{size[1]}: sides are whole multiples of {PATCH} up to {LARGEST_PX}, "
            f"such as {near[0]}x{near[1]}"
        )
    low, high = DEEPEST_M
    if max_depth_m is not None and not low <= max_depth_m <= high:
        raise ParameterError(f"max depth must lie in {low:g} to {high:g} m, got {max_depth_m:g}")


def _count(network: GatedDepthAnything, size: tuple[int, int]) -> tuple[tuple[BlockSpec, ...], int]:
    """Sizes and costs of the gated blocks, and the multiply-adds of everything else."""
    width, height = size[0] // PATCH, size[1] // PATCH
    trunk = network.pretrained.config
    patches = width * height
    tokens = patches + 1 + trunk.registers
    each = macs_per_token(trunk, tokens)
    blocks = tuple(
        BlockSpec(f"block{slot}", height, width, trunk.width, each) for slot in range(trunk.depth)
    )
    always = 2 * tokens * trunk.width**2 + (tokens - patches) * each
    embedding = patches * 3 * PATCH**2 * trunk.width
    likeness = likeness_macs(trunk, (height, width))
    channels = network.depth_head.config.width
    features = [torch.zeros(1, channels, height, width)] * len(trunk.taps)
    heads = sum(
        count_macs(head, head, features, ()).dense
        for head in (network.depth_head, network.label_head)
        if head is not None
    )
    return blocks, embedding + likeness + trunk.depth * always + heads
