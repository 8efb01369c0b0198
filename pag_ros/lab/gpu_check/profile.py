"""What NVIDIA's profiler (ncu) says of one gated block, where it is installed.

As a program it launches the block's kernels once each, for the profiler to look at.
"""

from __future__ import annotations

import csv
import io
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pag_ros.errors import one_line
from pag_ros.lab.gpu_check.device import open_device
from pag_ros.lab.gpu_check.speed import BlockCase, launched_once
from pag_ros.runtime.child_processes import with_these_modules

BLOCK = BlockCase(channels=128, height=30, width=40, batch=1)
"""A gated block of the shipped model."""
DENSITY = 0.5
METRICS = (
    "Duration",
    "Registers Per Thread",
    "Theoretical Occupancy",
    "Achieved Occupancy",
    "Executed Ipc Active",
    "Compute (SM) Throughput",
    "Memory Throughput",
    "L2 Cache Throughput",
    "DRAM Throughput",
)

_SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "ComputeWorkloadAnalysis")
_USUAL_PLACES = ("/usr/local/cuda/bin/ncu",)
_TIMEOUT_S = 300


def find_profiler() -> str | None:
    """Path of ncu, or None."""
    found = shutil.which("ncu")
    return found or next((place for place in _USUAL_PLACES if Path(place).is_file()), None)


def profile(
    profiler: str | None, command: Sequence[str], end: float = math.inf
) -> Iterator[dict[str, Any]]:
    """Run a command under ncu: {"kernel", "metrics"}, or {"outcome", "text"} where that fails.

    Args:
        end: `time.monotonic()` by which it is to be done.
    """
    if profiler is None:
        yield {"outcome": "absent", "text": "ncu is not installed"}
        return
    seconds = min(_TIMEOUT_S, max(0.0, end - time.monotonic()))
    sections = [option for name in _SECTIONS for option in ("--section", name)]
    options = ["--csv", "--page", "details", "--kernel-name", "regex:pag_", *sections]
    try:
        done = subprocess.run(
            [profiler, *options, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=with_these_modules(),
        )
    except subprocess.TimeoutExpired:
        yield {"outcome": "failed", "text": f"ncu was not done after {seconds:.0f} s"}
        return
    rows = list(read_details(done.stdout))
    yield from rows
    if not rows:
        said = one_line((done.stderr or done.stdout)[-400:])
        yield {"outcome": "failed", "text": f"ncu ended with code {done.returncode}: {said}"}


def read_details(text: str) -> Iterator[dict[str, Any]]:
    """{"kernel", "metrics": {name: "value unit"}} of every launch in ncu's page of details."""
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    launches: dict[tuple[str, str], dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[begin:]))):
        name, value = row.get("Metric Name") or "", row.get("Metric Value") or ""
        if name in METRICS:
            found = launches.setdefault((row["ID"], row["Kernel Name"]), {})
            found[name] = f"{value} {row.get('Metric Unit') or ''}".strip()
    for (_, kernel), metrics in launches.items():
        yield {"kernel": kernel, "metrics": metrics}


def main() -> int:
    """Launch the kernels."""
    launched_once(open_device(), BLOCK, DENSITY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
