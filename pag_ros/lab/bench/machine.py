"""What a benchmark ran on: the processor, what it can do at most, and the versions."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import Any

import numpy as np

from pag_ros import __version__, kernels
from pag_ros.runtime.calibration import cpu_name

_PACKAGES = ("numpy", "openvino", "onnxruntime", "torch")


def describe(threads: int) -> dict[str, Any]:
    """Processor, threads and measured limits, for the JSON's "machine"."""
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "threads": threads,
        "instruction_set": kernels.chosen_instruction_set(),
        "peak_gflops": round(_peak_gflops(threads), 1),
        "memory_gbytes_per_s": round(_memory_bandwidth(), 1),
    }


def versions() -> dict[str, str]:
    """Version of this package, Python and the runtimes that are installed."""
    found = {"pag_ros": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _peak_gflops(threads: int) -> float:
    """Multiply-adds in registers only, times two: no code can be faster on these threads."""
    workspace = kernels.Workspace(threads)
    best = max(kernels.peak_flops(workspace) for _ in range(20))
    workspace.close()
    return best / 1e9


def _memory_bandwidth() -> float:
    """Bytes read and written by one thread that copies more than the caches hold, in 1e9/s."""
    source = np.ones(1 << 25, np.float32)
    target = np.empty_like(source)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - began)
    return 2 * source.nbytes / min(seconds) / 1e9
