"""Writes the ONNX file and its manifest; or a dense-equivalent ONNX without custom operators."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pag_ros.errors import ModelError, ParameterError
from pag_ros.lab.export.card import ModelCard
from pag_ros.lab.export.graph import DenseNetwork, DeployedNetwork
from pag_ros.lab.model import PagNetwork
from pag_ros.lab.model.cost import count_macs
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.model.gating import DenseGating
from pag_ros.lab.model.network import CANONICAL_FOCAL
from pag_ros.lab.model.operators import no_limits
from pag_ros.manifest import BlockSpec, Manifest, save_manifest, sha256_of
from pag_ros.writing import write_bytes

OPSET = 18
_FOLD_LIMIT = 1 << 26
"""Largest constant, in elements, that is computed at export instead of at run time."""
_HALF_FROM = 1024
"""Smaller constants stay float32: they are few, and scales and biases want the precision."""
_TALKATIVE = ("torch.onnx", "onnx_ir", "onnxscript")
"""Loggers of the exporter and of the libraries below it."""


def export_model(
    network: PagNetwork, card: ModelCard, size: tuple[int, int], path: Path
) -> Manifest:
    """Write `path` (.onnx) and its manifest.

    Weights are rounded to float16 and stored so; arithmetic stays float32. Score the written file,
    not the network in memory.

    Args:
        network: in evaluation mode.
        card: goes into the manifest.
        size: (width, height) of the network's input in pixels.
        path: of the ONNX file; its folder is made.

    Returns:
        The manifest, with one budget row (everything) and no scores.

    Raises:
        ParameterError: the card's classes are not the network's, or `path` cannot be written.
        ModelError: torch cannot export the network, or a weight is infinite or NaN.
    """
    _check_classes(network, card)
    width, height = size
    slots = len(network.gated)
    deployed = DeployedNetwork(network)
    inputs = {
        "image": torch.zeros(1, height, width, 3, dtype=torch.uint8),
        "fx": torch.tensor([CANONICAL_FOCAL * width]),
        "keep": torch.ones(slots, dtype=torch.int32),
        "plan": no_limits(slots),
    }
    write_graph(deployed, inputs, deployed.output_names(), path)
    blocks, dense_macs = _count(network, size)
    manifest = Manifest(
        name=card.name,
        sha256=sha256_of(path),
        height=height,
        width=width,
        focal_range=(card.focal_range[0] * width, card.focal_range[1] * width),
        depth_range_m=card.depth_range_m,
        classes=card.classes,
        blocks=blocks,
        dense_macs=dense_macs,
        heads=network.config.heads,
        license=card.license,
        training_data=card.training_data,
        budgets={"1.00": tuple(block.pixels for block in blocks)},
        size_exponent=card.size_exponent,
    )
    save_manifest(manifest, path)
    return manifest


def export_dense(network: PagNetwork, size: tuple[int, int], path: Path) -> None:
    """Write the network without custom operators, every pixel computed (inputs image, fx).

    Raises:
        ParameterError, ModelError: as for `export_model`.
    """
    width, height = size
    inputs = {
        "image": torch.zeros(1, height, width, 3, dtype=torch.uint8),
        "fx": torch.tensor([CANONICAL_FOCAL * width]),
    }
    dense = DenseNetwork(network)
    write_graph(dense, inputs, dense.output_names(), path)


def write_graph(
    module: nn.Module,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a module as ONNX, its large weights in 16 bits.

    Args:
        notes: what the file says of itself.

    Raises:
        ParameterError: `path` cannot be written.
        ModelError: torch cannot export it, or a weight is infinite or NaN.
    """
    _prepare(path)
    require_finite(module.state_dict(), path)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
        )
        if program is None:
            raise ModelError(f"{path}: the network could not be exported to ONNX")
        onnxscript.optimizer.optimize(
            program.model, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT
        )
    model = program.model_proto
    _store_half(model)
    _strip_notes(model)
    onnx.helper.set_model_props(model, dict(notes or {}))
    write_bytes(path, model.SerializeToString())


def _check_classes(network: PagNetwork, card: ModelCard) -> None:
    config = network.config
    names = [entry.name for entry in card.classes]
    if "segmentation" in config.heads and len(names) != config.classes:
        raise ParameterError(
            f"the card of {card.name} has {len(names)} classes, the network {config.classes}"
        )
    if config.class_names and names != list(config.class_names):
        raise ParameterError(
            f"the card of {card.name} has the classes {', '.join(names)}; the network was trained "
            f"on {', '.join(config.class_names)}"
        )


def _prepare(path: Path) -> None:
    """Make the file's folder and see that it can be written, before the long work begins."""
    if path.suffix != ".onnx":  # the manifest beside it takes the name with .json
        raise ParameterError(f"{path}: expected a name that ends in .onnx")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be written ({error.strerror})") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ParameterError(f"{path}: cannot be written; give another name")


def _strip_notes(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes: they hold paths and source lines of the exporting machine."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (model, graph, *graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""


def _store_half(model: onnx.ModelProto) -> None:
    """Large float32 constants become float16 constants and a Cast: half the file."""
    casts = []
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        if values.dtype != np.float32 or values.size < _HALF_FROM:
            continue
        half = _to_half(values)
        if half is None:
            continue
        name = constant.name
        constant.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [f"{name}.half"], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _to_half(values: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """The constant in 16 bits; None where a value is too large for them."""
    if np.abs(values).max() > np.finfo(np.float16).max:
        return None
    return values.astype(np.float16)


def _count(network: PagNetwork, size: tuple[int, int]) -> tuple[tuple[BlockSpec, ...], int]:
    """Sizes and costs of the gated blocks, and the multiply-adds of everything else."""
    width, height = size
    probe = copy.deepcopy(network)
    probe.number_blocks()
    image = torch.zeros(1, 3, height, width)
    cost = count_macs(probe, lambda x: probe(x, DenseGating()), image, probe.gated)
    blocks = tuple(
        BlockSpec(
            name=f"block{block.slot}",
            height=entry.height,
            width=entry.width,
            channels=block.channels,
            macs_per_pixel=entry.macs_per_pixel,
        )
        for block, entry in zip(probe.gated, cost.blocks, strict=True)
    )
    return blocks, cost.dense


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress, and warns and logs about its own internals."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
