"""Compile the GPU kernels of a model for several GPUs; needs Triton, but no GPU.

They go into one file beside the model, MODEL.kernels.zip, which a robot without Triton reads.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pag_ros.cli.options import add_json, add_model_argument, write_json
from pag_ros.errors import ParameterError
from pag_ros.kernels.gpu.programs import Spec, StampSpec
from pag_ros.kernels.gpu.store import CompiledKernel, kernels_path, save_kernels
from pag_ros.lab.kernel_compiler.compiler import TARGETS, compile_kernels
from pag_ros.runtime.models import find_model
from pag_ros.runtime.onnx_precheck import is_transformer
from pag_ros.runtime.tensorrt.standard_graph import standard_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--targets",
        type=int,
        nargs="+",
        choices=TARGETS,
        default=TARGETS,
        metavar="CC",
        help=f"compute capabilities times ten, of {', '.join(map(str, TARGETS))} (default: all)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (default: the model's)")
    add_json(parser)


def main(args: argparse.Namespace) -> int:
    model = find_model(args.model)
    if is_transformer(model):
        raise ParameterError(
            f"{model}: a transformer needs no GPU kernels; TensorRT runs "
            f"{standard_path(model).name}"
        )
    kernels = _compile(programs_of(model), args.targets)
    path = kernels_path(args.out / model.name if args.out else model)
    save_kernels(path, kernels)
    result = {"rows": [_row(kernel) for kernel in kernels]}
    if write_json(result, args.json):
        return 0
    print(_table(kernels))
    print(f"written: {path} ({len(kernels)} kernels, {path.stat().st_size / 1e6:.1f} MB)")
    return 0


def programs_of(model: Path) -> list[Spec]:
    """The distinct kernels that a model's network consists of, and the one that starts a frame."""
    from pag_ros.runtime.tensorrt.graph import engine_graph

    return [StampSpec(), *engine_graph(model).specs]


def _compile(specs: Sequence[Spec], targets: Sequence[int]) -> list[CompiledKernel]:
    from tqdm import tqdm

    pairs = [(spec, target) for spec in specs for target in sorted(set(targets))]
    with tqdm(pairs, unit="kernel", disable=None, file=sys.stderr) as bar:
        return [kernel for spec, target in bar for kernel in compile_kernels(spec, target)]


def _row(kernel: CompiledKernel) -> dict[str, Any]:
    return {
        "kernel": kernel.name,
        "target": kernel.capability,
        "multiprocessors": kernel.multiprocessors,
        "registers": kernel.registers,
        "spills": kernel.spills,
        "shared_bytes": kernel.shared_bytes,
        "tensor_core": kernel.tensor_core,
    }


def _table(kernels: Sequence[CompiledKernel]) -> str:
    """One line a kernel, one column a target."""
    targets = sorted({kernel.capability for kernel in kernels})
    names = list(dict.fromkeys(kernel.name for kernel in kernels))
    cells: dict[tuple[str, int], list[str]] = defaultdict(list)
    for kernel in kernels:
        cells[kernel.name, kernel.capability].append(_cell(kernel))
    texts = {place: ", ".join(each) for place, each in cells.items()}
    width = max(map(len, names))
    widths = {t: max(5, *(len(texts[name, t]) for name in names)) for t in targets}
    lines = [
        "registers a thread / KB of shared memory, T: tensor cores, !: bytes spilled; where there "
        "are two, for small and for large chips"
    ]
    lines.append(" ".join([" " * width, *(f"{target:>{widths[target]}}" for target in targets)]))
    for name in names:
        row = (f"{texts[name, target]:>{widths[target]}}" for target in targets)
        lines.append(" ".join([f"{name:{width}}", *row]))
    return "\n".join(lines)


def _cell(kernel: CompiledKernel) -> str:
    marks = ("T" if kernel.tensor_core else "") + (f"!{kernel.spills}" if kernel.spills else "")
    return f"{kernel.registers}/{kernel.shared_bytes / 1024:.0f} {marks}".rstrip()
