"""Whole networks over densities beside the same networks dense.

Weights are random: they change no arithmetic, and gates that have learned nothing choose the pixels
that are hardest on the cache.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pag_ros.errors import BackendError, ParameterError
from pag_ros.lab.bench import dense
from pag_ros.lab.bench.timing import Progress, take_turns
from pag_ros.lab.quantize import quantize_on
from pag_ros.manifest import LabelClass, Manifest, load_manifest
from pag_ros.runtime import Session, open_session
from pag_ros.runtime.frame_clock import limit_rows
from pag_ros.runtime.openvino.quantization import save_quantization

if TYPE_CHECKING:
    from pag_ros.lab.model import PagNetwork

DENSITIES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)

MODELS: Mapping[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "lite0": ({"encoder": "lite0"}, (320, 240)),
    "lite0-640": ({"encoder": "lite0"}, (640, 480)),
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
    "depth-anything-small": ({"transformer": "small"}, (518, 518)),
    "depth-anything-small-308": ({"transformer": "small"}, (308, 308)),
}
"""Name -> network configuration and input size. lite0 is the shipped one, lite2 a larger one; the
ResNets are the paper's form at its output stride of 8, and at 16. lite0-plain has no MultiPool, of
which a dense runtime computes every candidate at every pixel. Depth Anything V2 is whole, with its
head, which is not gated."""
PRECISIONS = ("fp32", "bf16", "int8")
"""Ours."""


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
    feeds = {"image": image, "fx": np.array([0.8 * width], np.float32)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        network = _export(config, (width, height), Path(folder))
        has_int8 = _quantize(Path(folder, "gated.onnx"), feeds)
        runs: dict[str, Callable[[], object]] = {}
        for precision in PRECISIONS if has_int8 else PRECISIONS[:2]:
            try:
                session = open_session(
                    Path(folder, "gated.onnx"), "cpu", threads, precision=precision
                )
            except BackendError:  # the processor does not have it
                continue
            stack.enter_context(closing(session))
            runs |= _our_runs(session, precision, densities, feeds)
        model = Path(folder, "dense.onnx").read_bytes()
        runs |= dense.all_precisions(model, network, feeds, threads, "transformer" in config)
        seconds = take_turns(runs, rounds, progress)
    ms = {run: 1e3 * value for run, value in seconds.items()}
    dense_ms = {run: value for run, value in ms.items() if run.split()[0] in dense.RUNTIMES}
    facts = {
        "model": name,
        "size": f"{width}x{height}",
        "gated_share": round(_gated_share(session.manifest), 3),
        "dense_ms": {run: round(value, 3) for run, value in dense_ms.items()},
    }
    return [
        {**facts, **_row(precision, density, ms[f"ours {precision} {density}"], dense_ms)}
        for precision in PRECISIONS
        for density in densities
        if f"ours {precision} {density}" in ms
    ]


def _quantize(model: Path, feeds: dense.Feeds) -> bool:
    """Make our network ready for int8 on one picture; the ranges change no time.

    Returns:
        Whether that was possible: without NNCF there are no rivals in int8 either.
    """
    if importlib.util.find_spec("nncf") is None:
        return False
    manifest = load_manifest(model)
    keep = [block.pixels for block in manifest.blocks]
    whole = {
        **feeds,
        "keep": np.array(keep, np.int32),
        "plan": limit_rows(None, 0.0, len(keep)),
    }
    quantization = quantize_on(model, [whole], correct_biases=False)
    if quantization.roundings:
        save_quantization(quantization, model)
    return bool(quantization.roundings)


def _our_runs(
    session: Session, precision: str, densities: Sequence[float], feeds: dense.Feeds
) -> dict[str, Callable[[], object]]:
    image, focal = feeds["image"][0], float(feeds["fx"][0])
    return {
        f"ours {precision} {density}": partial(
            session.infer,
            image,
            focal,
            [round(density * block.pixels) for block in session.manifest.blocks],
        )
        for density in densities
    }


def _row(
    precision: str, density: float, ours_ms: float, dense_ms: Mapping[str, float]
) -> dict[str, Any]:
    """A density's time, beside the best dense one in the same precision and in any."""
    same = [value for run, value in dense_ms.items() if run.endswith(precision)]
    return {
        "precision": precision,
        "density": density,
        "ours_ms": round(ours_ms, 3),
        "speedup": round(min(same) / ours_ms, 3),
        "speedup_any": round(min(dense_ms.values()) / ours_ms, 3),
    }


def _export(config: dict[str, Any], size: tuple[int, int], folder: Path) -> Any:
    """Write gated.onnx and dense.onnx; returns the dense network for torch."""
    if "transformer" in config:
        return _export_transformer(config["transformer"], size, folder)
    try:
        import torch

        from pag_ros.lab.export import export_dense, export_model
        from pag_ros.lab.export.card import ModelCard
        from pag_ros.lab.export.graph import DenseNetwork
        from pag_ros.lab.model import NetworkConfig, build_network
    except ImportError as error:
        raise _needs_torch(error) from error
    torch.manual_seed(0)
    network: PagNetwork = build_network(NetworkConfig.from_mapping(config)).eval()
    classes = tuple(LabelClass(f"class {n}", (n, n, n)) for n in range(network.config.classes))
    card = ModelCard("bench", classes, (0.1, 20.0), (0.5, 2.0), "none", "none, random weights")
    export_model(network, card, size, folder / "gated.onnx")
    export_dense(network, size, folder / "dense.onnx")
    return DenseNetwork(network)


def _export_transformer(variant: str, size: tuple[int, int], folder: Path) -> Any:
    """The same for Depth Anything V2 of one of its sizes."""
    try:
        import torch

        from pag_ros.lab.transformers.adopt import export_depth_anything, export_ungated
        from pag_ros.lab.transformers.deployed import UngatedDepthAnything
        from pag_ros.lab.transformers.depth_anything import random_depth_anything
    except ImportError as error:
        raise _needs_torch(error) from error
    torch.manual_seed(0)
    network = random_depth_anything(variant, max_depth_m=20.0)
    export_depth_anything(network, "bench", size, folder / "gated.onnx")
    export_ungated(network, size, folder / "dense.onnx")
    return UngatedDepthAnything(network)


def _needs_torch(error: ImportError) -> BackendError:
    return BackendError(
        f"networks are built with torch and onnx ({error}); pip install 'pag_ros[train]'"
    )


def _gated_share(manifest: Manifest) -> float:
    """Share of the network's multiply-adds that the gates decide on."""
    gated = sum(block.pixels * block.macs_per_pixel for block in manifest.blocks)
    return float(gated / (gated + manifest.dense_macs))
