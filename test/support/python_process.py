"""A program in a Python of its own, that finds the package where this one does."""

from __future__ import annotations

import os
import subprocess
import sys

ELSEWHERE = "/"
"""Not in the checkout: a build that lies there would be found before the one under test."""


def run_python(program: str, *, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which it must reach in time; its status is the caller's matter."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd=ELSEWHERE,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
    )
