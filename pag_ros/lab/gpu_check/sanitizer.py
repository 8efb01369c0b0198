"""NVIDIA's compute-sanitizer over the kernels, where it is installed."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pag_ros.runtime.child_processes import with_these_modules

TOOLS = ("memcheck", "racecheck")
_USUAL_PLACES = ("/usr/local/cuda/bin/compute-sanitizer",)
_FOUND = 9
_TIMEOUT_S = 1800


def find_sanitizer() -> str | None:
    """Path of compute-sanitizer, or None."""
    found = shutil.which("compute-sanitizer")
    return found or next((place for place in _USUAL_PLACES if Path(place).is_file()), None)


def sanitize(
    sanitizer: str | None, tool: str, command: Sequence[str], end: float = math.inf
) -> dict[str, Any]:
    """Run a command under a tool: {"tool", "outcome", "text"}.

    The command finds the modules that this process finds. The outcome is "clean", "errors",
    "failed" (the command itself did), or "absent".

    Args:
        end: `time.monotonic()` by which it is to be done.
    """
    if sanitizer is None:
        return {"tool": tool, "outcome": "absent", "text": "compute-sanitizer is not installed"}
    return _run(sanitizer, tool, command, min(_TIMEOUT_S, end - time.monotonic()))


def _run(sanitizer: str, tool: str, command: Sequence[str], seconds: float) -> dict[str, Any]:
    arguments = [sanitizer, "--tool", tool, "--error-exitcode", str(_FOUND), *command]
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=with_these_modules(),
        )
    except subprocess.TimeoutExpired:
        return {"tool": tool, "outcome": "failed", "text": f"not done after {seconds:.0f} s"}
    outcome = {0: "clean", _FOUND: "errors"}.get(done.returncode, "failed")
    text = "" if outcome == "clean" else (done.stdout + done.stderr)[-2000:]
    return {"tool": tool, "outcome": outcome, "text": text}
