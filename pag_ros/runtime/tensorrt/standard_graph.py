"""A transformer's graph in standard operators, as `pag_ros adopt` writes it, for TensorRT.

It needs none of our kernels. How many patches each block computes is the input `keep`, on which
shapes depend, so TensorRT wants it from the host.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pag_ros.errors import BackendError
from pag_ros.manifest import Manifest
from pag_ros.reading import reading
from pag_ros.runtime.model_layout import Layout, input_layout, output_layout
from pag_ros.runtime.tensorrt.graph import (
    parsed_onnx,
    replace_nodes,
    require_onnx,
    split_constants,
)
from pag_ros.runtime.tensorrt.half_products import halve_products

MODEL_NOTE = "pag_ros.model_sha256"
"""Name of the file's note of which model it is the graph of."""
_REMEDY = "`pag_ros adopt` writes it anew, or use device cpu"


def standard_path(model: Path) -> Path:
    """da2/foo.onnx -> da2/foo.standard.onnx."""
    return model.with_suffix(".standard.onnx")


def require_standard(model: Path) -> Path:
    """The graph in standard operators beside a model of `pag_ros adopt`.

    Raises:
        BackendError: there is none.
    """
    path = standard_path(model)
    if not path.is_file():
        raise BackendError(
            f"{model}: TensorRT runs a transformer by its graph in standard operators, and there "
            f"is no {path.name} beside it; {_REMEDY}"
        )
    return path


def standard_graph(model: Path, manifest: Manifest) -> bytes:
    """The graph of a transformer for TensorRT, typed for half precision.

    Args:
        model: path of the model's own ONNX file.
        manifest: of the model.

    Raises:
        BackendError: the package onnx is not installed, or the file is missing, damaged, or that of
            another model.
    """
    require_onnx()
    path = require_standard(model)
    with reading(path, "a graph in standard operators", BackendError, _REMEDY):
        proto = parsed_onnx(path)
    notes = {each.key: each.value for each in proto.metadata_props}
    if notes.get(MODEL_NOTE) != manifest.sha256:
        raise BackendError(f"{path}: the graph of another model than {model.name}; {_REMEDY}")
    constants, nodes = split_constants(proto)
    replace_nodes(proto, halve_products(nodes, constants), constants)
    return bytes(proto.SerializeToString())


def standard_inputs(manifest: Manifest) -> Layout:
    """What a frame is given; the counts come from the host."""
    layout = input_layout(manifest)
    return {name: layout[name] for name in ("image", "fx")}


def standard_outputs(manifest: Manifest) -> Layout:
    """What it gives: the model's maps, and of each block the patches, as many as were asked for.

    The layout has room for all patches of a block.
    """
    return {name: place for name, place in output_layout(manifest).items() if name != "count"}


def keep_layout(manifest: Manifest) -> Layout:
    """The input that lies in the host's memory."""
    return {"keep": (np.int32, (len(manifest.blocks),))}
