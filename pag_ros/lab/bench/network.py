"""Whole networks over densities beside the same networks dense.

Weights are random: they change no arithmetic, and gates that have learned nothing choose the pixels
that are hardest on the cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pag_ros.errors import BackendError, ParameterError
from pag_ros.lab.bench import dense
from pag_ros.lab.bench.timing import Progress, take_turns
from pag_ros.manifest import LabelClass, Manifest
from pag_ros.runtime import open_session

if TYPE_CHECKING:
    from pag_ros.lab.model import PagNetwork

DENSITIES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)

MODELS: Mapping[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "lite0": ({"encoder": "lite0"}, (320, 240)),
    "lite2": ({"encoder": "lite2"}, (640, 480)),
    "resnet18": ({"encoder": "resnet18", "multipool": False}, (320, 240)),
    "resnet50": ({"encoder": "resnet50", "multipool": False}, (320, 240)),
    "resnet18-os16": (
        {"encoder": "resnet18", "multipool": False, "output_stride": 16},
        (320, 240),
    ),
    "resnet50-os16": (
        {"encoder": "resnet50", "multipool": False, "output_stride": 16},
        (320, 240),
    ),
    "lite0-plain": ({"encoder": "lite0", "multipool": False}, (320, 240)),
}
"""Name -> network configuration and input size. lite0 is the shipped one, lite2 a larger one; the
ResNets are the paper's form at its output stride of 8, and at 16. lite0-plain has no MultiPool, of
which a dense runtime computes every candidate at every pixel."""


def measure(
    name: str,
    densities: Sequence[float],
    threads: int,
    rounds: int,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The rows of one network, see docs/benchmarks.md.

    Raises:
        ParameterError: no such network.
        BackendError: torch or onnx, which build the networks, are not installed.
    """
    if name not in MODELS:
        raise ParameterError(f"no network {name!r}; there are {', '.join(MODELS)}")
    config, (width, height) = MODELS[name]
    image = np.random.default_rng(0).integers(0, 255, (1, height, width, 3), np.uint8)
    focal = np.array([0.8 * width], np.float32)
    with tempfile.TemporaryDirectory() as folder:
        network = _export(config, (width, height), Path(folder))
        session = open_session(Path(folder, "gated.onnx"), "cpu", threads)
        model = Path(folder, "dense.onnx").read_bytes()
    blocks = session.manifest.blocks
    runs: dict[str, Callable[[], object]] = {}
    for density in densities:
        keep = [round(density * block.pixels) for block in blocks]
        runs[str(density)] = partial(session.infer, image[0], float(focal[0]), keep)
    runs |= dense.dense_runs(model, network, {"image": image, "fx": focal}, threads)
    seconds = take_turns(runs, rounds, progress)
    session.close()

    dense_ms = {n: 1e3 * seconds[n] for n in dense.RUNTIMES if n in seconds}
    return [
        {
            "model": name,
            "size": f"{width}x{height}",
            "density": density,
            "ours_ms": round(1e3 * seconds[str(density)], 3),
            "dense_ms": {n: round(value, 3) for n, value in dense_ms.items()},
            "speedup": round(min(dense_ms.values()) / (1e3 * seconds[str(density)]), 3),
            "gated_share": round(_gated_share(session.manifest), 3),
        }
        for density in densities
    ]


def _export(config: dict[str, Any], size: tuple[int, int], folder: Path) -> Any:
    """Write gated.onnx and dense.onnx; returns the dense network for torch."""
    try:
        import torch

        from pag_ros.lab.export import export_dense, export_model
        from pag_ros.lab.export.card import ModelCard
        from pag_ros.lab.export.graph import DenseNetwork
        from pag_ros.lab.model import NetworkConfig, build_network
    except ImportError as error:
        raise BackendError(
            f"networks are built with torch and onnx ({error}); pip install 'pag_ros[train]'"
        ) from error
    torch.manual_seed(0)
    network: PagNetwork = build_network(NetworkConfig.from_mapping(config)).eval()
    classes = tuple(LabelClass(f"class {n}", (n, n, n)) for n in range(network.config.classes))
    card = ModelCard("bench", classes, (0.1, 20.0), (0.5, 2.0), "none", "none, random weights")
    export_model(network, card, size, folder / "gated.onnx")
    export_dense(network, size, folder / "dense.onnx")
    return DenseNetwork(network)


def _gated_share(manifest: Manifest) -> float:
    """Share of the network's multiply-adds that the gates decide on."""
    gated = sum(block.pixels * block.macs_per_pixel for block in manifest.blocks)
    return float(gated / (gated + manifest.dense_macs))
