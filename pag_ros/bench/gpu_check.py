"""Check and time the GPU kernels on this machine; docs/gpu.md says how to read the result.

Correctness of every kernel against its definition, memcheck and racecheck where compute-sanitizer
is installed, gated blocks beside cuDNN's dense ones over density, the shipped networks in torch
with our kernels beside the same networks dense, and through TensorRT where that is installed. Exit
code 1 if something is wrong, 2 if nothing could run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pag_ros import __version__
from pag_ros.bench import gpu_correctness, gpu_sanitizer, gpu_speed, gpu_tensorrt
from pag_ros.bench.gpu_device import Device, import_torch
from pag_ros.errors import PagError
from pag_ros.runtime import shipped_models

PARTS = ("correctness", "sanitizer", "speed", "torch", "tensorrt")
_SELECT_SIZES = ((7, 11), (30, 40), (60, 80), (120, 160))
_SMALL_SELECT_SIZES = ((7, 11),)

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if everything that ran is right, 1 if not, 2 if nothing could run."""
    args = _parser().parse_args(arguments)
    try:
        result = run(args)
    except PagError as error:
        print(f"gpu_check: error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(report(result))
    return 0 if is_right(result) else 1


def run(args: argparse.Namespace) -> Result:
    """What the options ask for, as plain JSON values.

    Raises:
        BackendError: torch, a GPU or Triton is missing, or a kernel cannot be compiled.
    """
    device = Device(import_torch())
    result: Result = {"machine": _machine(device)}
    if "correctness" in args.only:
        result["correctness"] = _correctness(device, args.small)
    if "sanitizer" in args.only:
        command = [
            sys.executable,
            "-m",
            "pag_ros.bench.gpu_check",
            "--only",
            "correctness",
            "--small",
        ]
        result["sanitizer"] = gpu_sanitizer.sanitize(gpu_sanitizer.find_sanitizer(), command)
    if "speed" in args.only:
        result["speed"] = _speed(device, args)
    models = list(shipped_models().values())
    if "torch" in args.only:
        from pag_ros.bench import gpu_torch  # here: it imports torch

        rows = gpu_torch.measure(device, models, args.rounds)
        result["torch"] = _with_progress("torch", rows)
    if "tensorrt" in args.only:
        rows = gpu_tensorrt.measure(models, args.rounds)
        result["tensorrt"] = _with_progress("tensorrt", rows)
    return result


def is_right(result: Result) -> bool:
    """Whether no kernel or network differs from its definition, and no sanitizer complained."""
    differs = [row for row in result.get("correctness", ()) if not row["ok"]]
    unclean = [r for r in result.get("sanitizer", ()) if r["outcome"] in ("errors", "failed")]
    networks = (*result.get("torch", ()), *result.get("tensorrt", ()))
    failed = [row for row in networks if row["outcome"] == "failed"]
    return not differs and not unclean and not failed


def report(result: Result) -> str:
    """The result in Markdown, for docs/benchmarks.md."""
    parts = [", ".join(f"{name} {value}" for name, value in result["machine"].items())]
    if "correctness" in result:
        parts.append(_correctness_text(result["correctness"]))
    if "sanitizer" in result:
        parts.append("\n".join(_sanitizer_line(row) for row in result["sanitizer"]))
    if "speed" in result:
        parts.append(_speed_table(result["speed"]))
    if "torch" in result:
        parts.append(_torch_text(result["torch"]))
    if "tensorrt" in result:
        parts.append("\n".join(_tensorrt_line(row) for row in result["tensorrt"]))
    return "\n\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
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


def _correctness(device: Device, is_small: bool) -> list[Result]:
    convolutions = gpu_correctness.SMALL if is_small else gpu_correctness.CONVOLUTIONS
    sizes = _SMALL_SELECT_SIZES if is_small else _SELECT_SIZES
    rows = [gpu_correctness.check_stamp(device)]
    rows += _with_progress("select", gpu_correctness.check_select(device, sizes))
    rows += _with_progress("convolutions", gpu_correctness.check_convolutions(device, convolutions))
    return rows


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


def _correctness_text(rows: Sequence[Result]) -> str:
    wrong = [row for row in rows if not row["ok"]]
    worst = max((row["error"] for row in rows if row["case"].startswith("count")), default=0.0)
    lines = [
        f"Correctness: {len(rows) - len(wrong)} of {len(rows)} cases right; "
        f"largest relative error of a convolution {worst:.1e}."
    ]
    lines += [f"- WRONG: {row['kernel']}, {row['case']}: {row['error']:.3g}" for row in wrong]
    return "\n".join(lines)


def _sanitizer_line(row: Result) -> str:
    lines = [f"compute-sanitizer {row['tool']}: {row['outcome']}"]
    if row["text"]:
        lines.append(f"\n```\n{row['text'].strip()}\n```")
    return "\n".join(lines)


def _torch_text(rows: Sequence[Result]) -> str:
    """A line per model: both dense times, ours at each budget; then what was checked, or failed."""
    ran = [row for row in rows if row["outcome"] == "ran"]
    budgets = sorted({row["budget"] for row in ran})
    head = ["in torch", "dense ms", "dense, no MultiPool, ms", *(f"b={b:g}" for b in budgets)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] if ran else []
    for model in dict.fromkeys(row["model"] for row in ran):
        found = {row["budget"]: row for row in ran if row["model"] == model}
        some = found[budgets[-1]]
        cells = [model, f"{some['dense_ms']:.3f}", f"{some['dense_plain_ms']:.3f}"]
        cells += [f"{found[b]['ours_ms']:.3f} ms, {found[b]['speedup']:.2f}x" for b in budgets]
        lines.append("| " + " | ".join(cells) + " |")
    told = dict.fromkeys(f"- {r['model']}: {_outcome(r)}{r['text']}" for r in rows)
    return "\n".join([*lines, "", *told])


def _outcome(row: Result) -> str:
    return "" if row["outcome"] == "ran" else f"{row['outcome'].upper()}: "


def _tensorrt_line(row: Result) -> str:
    outcome = f"{row['frame_ms']:.2f} ms" if row["outcome"] == "ran" else row["outcome"].upper()
    budget = f" at budget {row['budget']:g}" if "budget" in row else ""
    return f"- TensorRT, {row['model']}{budget}: {outcome} ({row['text']})"


def _speed_table(rows: Sequence[Result]) -> str:
    """One line per block and batch; dense time, Select's time, and the speedup at each density."""
    densities = sorted({row["density"] for row in rows})
    head = ["basic block", "batch", "dense us", "select us", *(f"d={d:g}" for d in densities)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    blocks: dict[tuple[Any, ...], dict[float, Result]] = {}
    for row in rows:
        key = (row["channels"], row["height"], row["width"], row["batch"])
        blocks.setdefault(key, {})[row["density"]] = row
    for (channels, height, width, batch), found in blocks.items():
        some = next(iter(found.values()))
        cells = [f"{channels} @ {height}x{width}", str(batch)]
        cells += [f"{some['dense_us']:.1f}", f"{some['select_us']:.1f}"]
        cells += [f"{found[d]['speedup']:.2f}x" if d in found else "" for d in densities]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
