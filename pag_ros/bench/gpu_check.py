"""Check and time the GPU kernels on this machine; docs/gpu.md says how to read the result.

Correctness of every kernel against its definition, memcheck and racecheck where compute-sanitizer
is installed, gated blocks beside cuDNN's dense ones over density, the shipped networks in torch
with our kernels beside the same networks dense, and through TensorRT where that is installed. Exit
code 1 if something is wrong, 2 if something that was asked for cannot run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

from pag_ros import __version__
from pag_ros.bench import gpu_correctness, gpu_sanitizer, gpu_speed, gpu_tensorrt
from pag_ros.bench.gpu_device import Device, import_torch
from pag_ros.bench.gpu_report import Result, report
from pag_ros.errors import PagError
from pag_ros.runtime import shipped_models

PARTS = ("correctness", "sanitizer", "speed", "torch", "tensorrt")
_SELECT_SIZES = ((7, 11), (30, 40), (60, 80), (120, 160))
_SMALL_SELECT_SIZES = ((7, 11),)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything is right, 1 if not, 2 if something that was asked for cannot run."""
    args = _parser().parse_args(arguments)
    try:
        device = Device(import_torch())
        result = run(device, args)
    except PagError as error:
        print(f"gpu_check: error: {error}", file=sys.stderr)
        return 2
    return 0 if is_right(result) else 1


def run(device: Device, args: argparse.Namespace) -> Result:
    """What the options ask for, as plain JSON values; written and printed as far as it came.

    Raises:
        BackendError: Triton is missing, or a kernel cannot be compiled or loaded.
    """
    result: Result = {"machine": _machine(device)}
    parts = _parts(device, args)
    try:
        for name in PARTS:
            if name in args.only:
                result[name] = parts[name]()
    finally:
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(report(result))
    return result


def is_right(result: Result) -> bool:
    """Whether no kernel or network differs from its definition, and no sanitizer complained."""
    differs = [row for row in result.get("correctness", ()) if not row["ok"]]
    unclean = [r for r in result.get("sanitizer", ()) if r["outcome"] in ("errors", "failed")]
    networks = (*result.get("torch", ()), *result.get("tensorrt", ()))
    failed = [row for row in networks if row["outcome"] == "failed"]
    return not differs and not unclean and not failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        metavar="PART",
        help=f"of {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument("--small", action="store_true", help="correctness on small maps only")
    parser.add_argument("--channels", type=int, nargs="+", default=gpu_speed.CHANNELS, metavar="C")
    parser.add_argument("--batches", type=int, nargs="+", default=gpu_speed.BATCHES, metavar="B")
    parser.add_argument("--densities", type=float, nargs="+", default=gpu_speed.DENSITIES)
    parser.add_argument("--rounds", type=int, default=21, help="medians of so many (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    return parser


def _machine(device: Device) -> dict[str, str]:
    torch = device.torch
    return {
        "GPU": torch.cuda.get_device_name(),
        "compute capability": f"{device.capability / 10:.1f}",
        "multiprocessors": str(torch.cuda.get_device_properties(0).multi_processor_count),
        "CUDA": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
        "torch": str(torch.__version__),
        "triton": _version("triton"),
        "pag_ros": __version__,
        "Python": platform.python_version(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _parts(device: Device, args: argparse.Namespace) -> dict[str, Callable[[], list[Result]]]:
    """Name of a part -> what gives its rows."""
    models = list(shipped_models().values())
    return {
        "correctness": lambda: _correctness(device, args.small),
        "sanitizer": _sanitizer,
        "speed": lambda: _speed(device, args),
        "torch": lambda: _torch(device, models, args.rounds),
        "tensorrt": lambda: _with_progress("tensorrt", gpu_tensorrt.measure(models, args.rounds)),
    }


def _correctness(device: Device, is_small: bool) -> list[Result]:
    convolutions = gpu_correctness.SMALL if is_small else gpu_correctness.CONVOLUTIONS
    sizes = _SMALL_SELECT_SIZES if is_small else _SELECT_SIZES
    rows = [gpu_correctness.check_stamp(device)]
    rows += _with_progress("select", gpu_correctness.check_select(device, sizes))
    rows += _with_progress("convolutions", gpu_correctness.check_convolutions(device, convolutions))
    return rows


def _sanitizer() -> list[Result]:
    small = ["-m", "pag_ros.bench.gpu_check", "--only", "correctness", "--small"]
    return gpu_sanitizer.sanitize(gpu_sanitizer.find_sanitizer(), [sys.executable, *small])


def _torch(device: Device, models: Sequence[Path], rounds: int) -> list[Result]:
    from pag_ros.bench import gpu_torch  # here: it imports torch

    return _with_progress("torch", gpu_torch.measure(device, models, rounds))


def _speed(device: Device, args: argparse.Namespace) -> list[Result]:
    cases = gpu_speed.cases(args.channels, gpu_speed.SIZES, args.batches)
    rows = (
        row
        for case in cases
        for row in gpu_speed.measure(device, case, args.densities, args.rounds)
    )
    return _with_progress("speed", rows)


def _with_progress(name: str, rows: Iterable[Result]) -> list[Result]:
    from tqdm import tqdm

    return list(tqdm(rows, desc=name, unit="case", disable=None, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
