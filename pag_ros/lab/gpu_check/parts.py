"""One part of the GPU check, as a process of its own: a JSON object on stdout for every row.

What libraries print goes to stderr. `gpu_check` starts it and gives it its time.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from pag_ros import __version__
from pag_ros.errors import PagError, one_line
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, Spec, StampSpec
from pag_ros.kernels.gpu.store import kernels_path, load_kernels
from pag_ros.kernels.gpu.tiles import CHIPS
from pag_ros.lab.gpu_check import correctness, profile, sanitizer, speed
from pag_ros.lab.gpu_check.device import Device, open_device
from pag_ros.lab.gpu_check.report import Row
from pag_ros.lab.kernel_compiler.compiler import compile_kernel
from pag_ros.runtime.child_processes import end_with_parent
from pag_ros.runtime.models import shipped_models

ORIN = 87
"""Compute capability whose stored code is also run elsewhere: PTX that the driver compiles."""

_SMALL_SELECT = SelectSpec(7, 11)
_SELECTS = (SelectSpec(30, 40), SelectSpec(60, 80), SelectSpec(120, 160))

Case = TypeVar("Case")


class _StoppedError(Exception):
    """SIGTERM came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if the part came to its end, however its rows look."""
    args = _parser().parse_args(arguments)
    args.end = time.monotonic() + args.seconds
    rows = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def write(row: Row) -> None:
        rows.write(json.dumps(row) + "\n")

    if args.end_with_parent:
        end_with_parent(0)
    signal.signal(signal.SIGTERM, _stop)
    try:
        for row in PARTS[args.part](args):
            write(row)
    except _StoppedError:
        write({"outcome": "stopped", "text": "for want of time"})
    except Exception as error:  # A GPU, its driver and torch fail in many ways.
        if not isinstance(error, PagError):
            traceback.print_exc()
        write({"outcome": "failed", "text": one_line(str(error) or type(error).__name__)})
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="parts", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--end-with-parent", action="store_true", help="who holds stdin open")
    parser.add_argument("--channels", type=int, nargs="+", default=speed.CHANNELS)
    parser.add_argument("--batches", type=int, nargs="+", default=speed.BATCHES)
    parser.add_argument("--densities", type=float, nargs="+", default=speed.DENSITIES)
    parser.add_argument("--rounds", type=int, default=21)
    return parser


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # One signal is enough.
    raise _StoppedError


def _each(
    cases: Sequence[Case], measure: Callable[[Case], Iterable[Row]], end: float
) -> Iterator[Row]:
    """The rows of all cases; what time does not allow is counted."""
    for number, case in enumerate(cases):
        if time.monotonic() > end:
            left = len(cases) - number
            text = f"{left} of {len(cases)} cases, for want of time"
            yield {"outcome": "skipped", "text": text}
            return
        try:
            yield from measure(case)
        except _StoppedError:
            text = f"in case {number + 1} of {len(cases)}, for want of time"
            yield {"outcome": "stopped", "text": text}
            return
        except Exception as error:  # of torch or the driver: the others may well run
            name = getattr(case, "name", case)
            kind = "" if isinstance(error, PagError) else f"{type(error).__name__}: "
            text = one_line(f"{name}: {kind}{error}")
            yield {"outcome": "failed", "text": text}


def _machine(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    facts = {
        **device.facts(),
        "triton": _version("triton"),
        "pag_ros": __version__,
        "Python": platform.python_version(),
        **_driver_facts(),
    }
    yield {"facts": {name: str(value) for name, value in facts.items()}}


def _driver_facts() -> dict[str, str]:
    """What the driver's own tool tells, where it is there."""
    fields = ("driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = done.stdout.splitlines()[0].split(",") if done.stdout.strip() else []
    return dict(zip(fields, map(str.strip, values), strict=False))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _build(args: argparse.Namespace) -> Iterator[Row]:
    """Fill Triton's cache with all that the other parts launch, on all processors."""
    capability = open_device().capability
    specs = _all_specs(args)
    began = time.monotonic()
    # The workers are not forked, which a GPU's context would not survive.
    workers = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), workers) as pool:
        running = {pool.submit(compile_kernel, spec, capability): spec for spec in specs}
        for done in as_completed(running):
            if error := done.exception():
                spec = running[done]
                yield {"outcome": "failed", "text": f"{spec.name}: {one_line(str(error))}"}
    yield {"kernels": len(specs), "seconds": time.monotonic() - began}


def _all_specs(args: argparse.Namespace) -> list[Spec]:
    blocks = [
        spec
        for case in speed.cases(args.channels, speed.SIZES, [1])
        for spec in speed.programs_of(case)
    ]
    fixed: list[Spec] = [StampSpec(), _SMALL_SELECT, *_SELECTS]
    fixed += [*correctness.SMALL, *correctness.LARGE, *_model_specs()]
    return list({spec.name: spec for spec in (*fixed, *blocks)}.values())


def _model_specs() -> list[Spec]:
    from pag_ros.runtime.tensorrt.graph import engine_graph

    return [spec for model in shipped_models().values() for spec in engine_graph(model).specs]


def _small(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    yield correctness.check_stamp(device)
    yield from correctness.check_select(device, _SMALL_SELECT)
    check = partial(correctness.check_convolution, device)
    yield from _each(correctness.SMALL, check, args.end)


def _correctness(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    yield from _each(_SELECTS, partial(correctness.check_select, device), args.end)
    check = partial(correctness.check_convolution, device)
    yield from _each(correctness.LARGE, check, args.end)


def _stored(args: argparse.Namespace) -> Iterator[Row]:
    """The code that lies beside the models: Orin's, compiled by the driver, and this GPU's own."""
    device = open_device()
    cases = [
        (model, capability, size)
        for model in shipped_models().values()
        for capability in dict.fromkeys((ORIN, device.capability))
        for size in CHIPS.get(capability, (None,))
        if device.capability >= capability
    ]
    yield from _each(cases, partial(_check_stored, device), args.end)


def _check_stored(device: Device, case: tuple[Path, int, int | None]) -> Iterator[Row]:
    from pag_ros.runtime.tensorrt.graph import engine_graph

    model, capability, size = case
    specs = engine_graph(model).specs
    for spec in specs:
        (found,) = load_kernels(kernels_path(model), [spec], capability, size).values()
        is_own = found.capability == device.capability
        kernel = device.load(spec, found if is_own else replace(found, cubin=b""))
        check: Any = correctness.check_convolution
        if not isinstance(spec, ConvSpec):
            check = correctness.check_select
        kind = "machine code" if is_own else "PTX"
        chip = f"stored {kind} for {found.capability / 10} and {found.multiprocessors} SMs"
        for row in check(device, spec, kernel):
            yield {**row, "case": f"{row['case']}, {chip}"}


def _torch(args: argparse.Namespace) -> Iterator[Row]:
    from pag_ros.lab.gpu_check import torch_network  # It imports torch.

    device = open_device()
    models = list(shipped_models().values())
    yield from _each(
        models, lambda model: torch_network.measure(device, [model], args.rounds), args.end
    )


def _speed(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    cases = speed.cases(args.channels, speed.SIZES, args.batches)
    # The densities that goals are about come first, over all cases.
    densities = sorted(args.densities, key=lambda density: density not in (0.5, 1.0))
    pairs = [(case, some) for some in (densities[:2], densities[2:]) for case in cases if some]

    def measure(pair: tuple[speed.BlockCase, list[float]]) -> Iterator[Row]:
        return speed.measure(device, pair[0], pair[1], args.rounds)

    yield from _each(pairs, measure, args.end)


def _tensorrt(args: argparse.Namespace) -> Iterator[Row]:
    from pag_ros.lab.gpu_check import engine_check

    models = list(shipped_models().values())
    yield from _each(models, lambda model: engine_check.measure([model], args.rounds), args.end)


def _profile(args: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-m", "pag_ros.lab.gpu_check.profile"]
    yield from profile.profile(profile.find_profiler(), command)


def _sanitizer(args: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-m", "pag_ros.lab.gpu_check.parts", "small"]
    program = sanitizer.find_sanitizer()
    yield from _each(
        sanitizer.TOOLS,
        lambda tool: [sanitizer.sanitize(program, tool, command, args.end)],
        args.end,
    )


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "machine": _machine,
    "build": _build,
    "small": _small,
    "stored": _stored,
    "torch": _torch,
    "speed": _speed,
    "correctness": _correctness,
    "tensorrt": _tensorrt,
    "profile": _profile,
    "sanitizer": _sanitizer,
}


if __name__ == "__main__":
    sys.exit(main())
