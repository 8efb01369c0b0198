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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from pag_ros import __version__
from pag_ros.errors import PagError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, Spec, StampSpec
from pag_ros.kernels.gpu.store import kernels_path, load_kernels
from pag_ros.kernels.gpu.tiles import CHIPS
from pag_ros.lab.gpu_check import correctness, profile, sanitizer, speed
from pag_ros.lab.gpu_check.cases import CheckCase, StoppedError, each, failure, reason
from pag_ros.lab.gpu_check.device import Device, open_device
from pag_ros.lab.gpu_check.report import Row
from pag_ros.lab.kernel_compiler.compiler import compile_kernel
from pag_ros.runtime.child_processes import end_with_parent
from pag_ros.runtime.models import shipped_models

ORIN = 87
"""Compute capability whose stored code is also run elsewhere: PTX that the driver compiles."""

_SMALL_SELECT = SelectSpec(7, 11)
_SELECTS = (SelectSpec(30, 40), SelectSpec(60, 80), SelectSpec(120, 160))


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
    except StoppedError:
        write({"outcome": "stopped", "text": "for want of time"})
    except Exception as error:  # A GPU, its driver and torch fail in many ways.
        if not isinstance(error, PagError):
            traceback.print_exc()
        write({"outcome": "failed", "text": reason(error)})
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # All is said; from here on it only ends.
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
    raise StoppedError


def _machine(args: argparse.Namespace) -> Iterator[Row]:
    """What can be told without torch, which may fail or hang, comes first."""
    known = {
        **_driver_facts(),
        "torch": _version("torch"),
        "triton": _version("triton"),
        "pag_ros": __version__,
        "Python": platform.python_version(),
    }
    yield {"facts": known}
    yield {"facts": {name: str(value) for name, value in open_device().facts().items()}}


def _driver_facts() -> dict[str, str]:
    """What the driver's own tool tells, where it is there."""
    fields = ("name", "driver_version", "clocks.max.sm", "clocks.max.mem", "power.limit")
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
    return dict(zip(("GPU", *fields[1:]), map(str.strip, values), strict=False))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _build(args: argparse.Namespace) -> Iterator[Row]:
    """Fill Triton's cache with all that the other parts launch, on all processors."""
    capability = open_device().capability
    specs, problems = _all_specs(args)
    yield from problems
    seconds = None if math.isinf(args.end) else max(0.0, args.end - time.monotonic())
    began, compiled, left = time.monotonic(), 0, 0
    # The workers are not forked, which a GPU's context would not survive.
    workers = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), workers) as pool:
        running = {pool.submit(compile_kernel, spec, capability): spec.name for spec in specs}
        try:
            for done in as_completed(running, seconds):
                error = done.exception()
                if isinstance(error, BrokenExecutor):
                    text = "a process that compiles has died; each part compiles what it lacks"
                    yield {"outcome": "failed", "text": text}
                    break
                if error:
                    yield failure(running[done], error)
                compiled += not error
        except (FuturesTimeoutError, StoppedError):
            pool.shutdown(wait=False, cancel_futures=True)
            left = sum(not some.done() or some.cancelled() for some in running)
        yield {"kernels": compiled, "seconds": time.monotonic() - began}
        if left:
            text = f"{left} of {len(specs)} kernels, for want of time"
            yield {"outcome": "skipped", "text": text}


def _all_specs(args: argparse.Namespace) -> tuple[list[Spec], list[Row]]:
    """All programs, and what could not be found out about them."""
    blocks = [
        spec
        for case in speed.cases(args.channels, speed.SIZES, [1])
        for spec in speed.programs_of(case)
    ]
    fixed: list[Spec] = [StampSpec(), _SMALL_SELECT, *_SELECTS]
    fixed += [*correctness.SMALL, *correctness.LARGE]
    problems = []
    for model in shipped_models().values():
        try:
            fixed += _specs_of(model)
        except Exception as error:  # The part that needs the model says it again.
            problems.append(failure(model.stem, error))
    return list({spec.name: spec for spec in (*fixed, *blocks)}.values()), problems


def _specs_of(model: Path) -> list[Spec]:
    from pag_ros.runtime.tensorrt.graph import engine_graph

    return list(engine_graph(model).specs)


def _small(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    cases = [CheckCase("pag_stamp", lambda: [correctness.check_stamp(device)])]
    cases += [_select_case(device, _SMALL_SELECT), *_convolution_cases(device, correctness.SMALL)]
    yield from each(cases, args.end, device)


def _correctness(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    cases = [_select_case(device, spec) for spec in _SELECTS]
    cases += _convolution_cases(device, correctness.LARGE)
    yield from each(cases, args.end, device)


def _select_case(device: Device, spec: SelectSpec) -> CheckCase:
    return CheckCase(spec.name, partial(correctness.check_select, device, spec))


def _convolution_cases(device: Device, specs: Sequence[ConvSpec]) -> list[CheckCase]:
    return [
        CheckCase(spec.name, partial(correctness.check_convolution, device, spec)) for spec in specs
    ]


def _stored(args: argparse.Namespace) -> Iterator[Row]:
    """The code that lies beside the models: Orin's, compiled by the driver, and this GPU's own."""
    device = open_device()
    cases = []
    for model in shipped_models().values():
        try:
            specs = _specs_of(model)
        except PagError as error:
            yield failure(model.stem, error)
            continue
        cases += [
            CheckCase(
                f"{spec.name} of {model.stem} for {capability / 10} and {size or 'all'} SMs",
                partial(_check_stored, device, model, spec, capability, size),
            )
            for capability in dict.fromkeys((ORIN, device.capability))
            for size in CHIPS.get(capability, (None,))
            for spec in specs
            if device.capability >= capability
        ]
    yield from each(cases, args.end, device)


def _check_stored(
    device: Device, model: Path, spec: Spec, capability: int, size: int | None
) -> Iterator[Row]:
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
    cases = [
        CheckCase(model.stem, partial(torch_network.measure, device, [model], args.rounds))
        for model in shipped_models().values()
    ]
    yield from each(cases, args.end, device)


def _transformer(args: argparse.Namespace) -> Iterator[Row]:
    from pag_ros.lab.gpu_check import transformer_speed  # It imports torch.

    device = open_device()
    cases = [
        CheckCase(str(case), partial(transformer_speed.measure, device, case, args.rounds))
        for case in transformer_speed.CASES
    ]
    yield from each(cases, args.end, device)


def _speed(args: argparse.Namespace) -> Iterator[Row]:
    device = open_device()
    blocks = speed.cases(args.channels, speed.SIZES, args.batches)
    # The densities that goals are about come first, over all cases.
    densities = sorted(args.densities, key=lambda density: density not in (0.5, 1.0))
    cases = [
        CheckCase(
            f"{block} at d={', '.join(f'{density:g}' for density in some)}",
            partial(speed.measure, device, block, some, args.rounds),
        )
        for some in (densities[:2], densities[2:])
        for block in blocks
        if some
    ]
    yield from each(cases, args.end, device)


def _tensorrt(args: argparse.Namespace) -> Iterator[Row]:
    from pag_ros.lab.gpu_check import engine_check

    models = list(shipped_models().values())
    cases = [
        CheckCase(
            model.stem,
            partial(engine_check.measure, [model], args.rounds, args.end, len(models) - number),
        )
        for number, model in enumerate(models)
    ]
    yield from each(cases, args.end)


def _profile(args: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-m", "pag_ros.lab.gpu_check.profile"]
    yield from profile.profile(profile.find_profiler(), command, args.end)


def _sanitizer(args: argparse.Namespace) -> Iterator[Row]:
    command = [sys.executable, "-m", "pag_ros.lab.gpu_check.parts", "small"]
    program = sanitizer.find_sanitizer()

    def sanitized(tool: str) -> list[Row]:
        return [sanitizer.sanitize(program, tool, command, args.end)]

    yield from each(
        [CheckCase(tool, partial(sanitized, tool)) for tool in sanitizer.TOOLS], args.end
    )


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "machine": _machine,
    "build": _build,
    "small": _small,
    "stored": _stored,
    "torch": _torch,
    "transformer": _transformer,
    "speed": _speed,
    "correctness": _correctness,
    "tensorrt": _tensorrt,
    "profile": _profile,
    "sanitizer": _sanitizer,
}


if __name__ == "__main__":
    sys.exit(main())
